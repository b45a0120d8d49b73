"""Tools around the pipeline: fetching data, cleaning notebooks, the site, tables of the README, provenance, scale."""
