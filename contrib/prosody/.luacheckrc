-- Prosody's own settings for modules, without what they leave out, and with no name more than is
-- used.
std = "lua54c";
cache = false;
codes = true;
max_line_length = 150;
unused_secondaries = true;
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
