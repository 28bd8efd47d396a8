-- What Prosody itself allows in a module, and not a name more.
std = "lua54c";
cache = false;
codes = true;
max_line_length = 150;
unused_secondaries = true;
ignore = {
	"212/self"; -- methods that need not look at their object
};
read_globals = {
	"prosody";
	"module._log";
	"module.context";
	"module.fire_event";
	"module.get_option";
	"module.get_option_boolean";
	"module.get_option_number";
	"module.get_option_period";
	"module.get_option_set";
	"module.get_option_string";
	"module.hook";
	"module.log";
	"module.provides";
	"module.require";
	"module.set_global";
	"module.shared";
};
globals = {
	"module.add_host";
	"module.unload";
};
