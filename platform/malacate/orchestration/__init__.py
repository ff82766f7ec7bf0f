"""The path as Dagster sees it: resources, assets, checks, sensors, IO managers."""
