"""The captured program (torch.export) and its rewrites, one file a rewrite."""
