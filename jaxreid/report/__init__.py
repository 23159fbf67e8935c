"""What a run leaves for people: figures, charts, `results.json` and a self-contained `report.html`.

Pure functions of NumPy arrays and plain values; nothing here knows of models, data sets or devices
but `results.environment`, which names the machine.
"""
