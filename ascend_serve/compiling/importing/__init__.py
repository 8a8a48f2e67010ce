"""From ATC command lines to recipes: `import_atc.import_atc` and `import_script`. Pure but for looking at files."""
