-- What Prosody's own settings allow in a module.
std = "lua54c";
cache = false;
codes = true;
max_line_length = 150;
allow_defined_top = true;
unused_secondaries = true;
read_globals = { "prosody", "require" };
globals = { "module" };
files["mod_*/"] = {
	module = true;
	allow_defined_top = true;
	globals = { "module.environment", "module.add_host", "module.load", "module.unload", "module.ready" };
};
ignore = {
	"212/self"; -- methods that need not look at their object
};
