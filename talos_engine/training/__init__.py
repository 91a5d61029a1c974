"""Fine-tuning: the loop, schedules, sparse AdamW; ``methods`` holds one file per method."""
