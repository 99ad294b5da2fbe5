"""The page that shows runs, live, and looks into their networks: an app that the plugin and `snn look` serve."""
