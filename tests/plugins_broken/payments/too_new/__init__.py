raise AssertionError("a plugin of another api is never imported")
