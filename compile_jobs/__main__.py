"""`python -m compile_jobs RECIPE… --soc …`."""

from compile_jobs.command import command

if __name__ == "__main__":
    command(prog_name="python -m compile_jobs")
