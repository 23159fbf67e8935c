"""The methods, one module each with ``run(config, workdir) -> results``; found by module name."""
