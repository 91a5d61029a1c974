"""Known tasks whose data is not embedded: one TOML file each, as ``declaration`` reads them."""
