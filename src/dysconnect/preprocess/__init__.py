"""Stage `preprocess`: from BOLD, with its confounds, to regional averages of everybody and their quality."""
