"""The ground every page stands on. It knows no feature; ``core/app.py`` joins the two."""
