"""Fine-tuning methods, one file each; every file registers one ``FinetuneMethod``."""
