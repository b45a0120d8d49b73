"""What goes beyond the paper: cold items, diversity, debiasing, further modalities, user-generated content."""
