"""Export trained models to formats that other tools read, and verify that nothing changed.

Each format writes into a staging folder that services.exporting creates and moves into place. An
export is complete only after ``parity`` has compared the written files, opened by plain
transformers, with the trained model.
"""
