"""Types of the public names, which `__init__.py` loads when they are asked for."""

from ascend_serve.artifacts.importing import import_om as import_om
from ascend_serve.artifacts.om.file import read_om_file as read_om_file
from ascend_serve.artifacts.om.fitness import fitness as fitness
from ascend_serve.artifacts.om.report import differences as differences
from ascend_serve.artifacts.om.report import report as report
from ascend_serve.artifacts.store import Artifact as Artifact
from ascend_serve.artifacts.store import Store as Store
from ascend_serve.compiling.build import compile_target as compile_target
from ascend_serve.compiling.diagnosis.diagnose import diagnose as diagnose
from ascend_serve.compiling.importing.import_atc import import_atc as import_atc
from ascend_serve.compiling.importing.import_atc import import_script as import_script
from ascend_serve.compiling.init_recipe import propose as propose
from ascend_serve.compiling.preflight import preflight as preflight
from ascend_serve.compiling.recipes import load_recipe as load_recipe
from ascend_serve.predictor import AscendPredictor as AscendPredictor
from ascend_serve.processing.processor import Decoded as Decoded
from ascend_serve.processing.processor import Payload as Payload
from ascend_serve.processing.processor import Processor as Processor
from ascend_serve.processing.processor import ProcessorDoor as ProcessorDoor
from ascend_serve.processing.processor import ProcessorSettings as ProcessorSettings
from ascend_serve.spec.recipe import CompileRecipe as CompileRecipe
from ascend_serve.verifying import verify as verify
from compile_jobs.tasks import compile_recipes as compile_recipes

__version__: str
