raise AssertionError("a plugin for another shop is never imported")
