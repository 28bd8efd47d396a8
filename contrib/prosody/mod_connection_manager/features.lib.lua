-- mod_connection_manager: what a virtual host offers to clients, put into words for managers.
--
-- Copyright the cmanager authors.  See LICENSE for details.
--
-- A manager answers the clients' stream headers itself, so it has to be told what Prosody
-- would offer.  The surest way to know is to ask Prosody's modules: "stream-features" is
-- fired for a session that does not exist.

local set = require "util.set";
local st = require "util.stanza";
local tls = module:require "tls";
local xpcall = require "util.xpcall".xpcall;

local xmlns_configuration = "http://jabber.org/protocol/connectionmanager";
local xmlns_stream = "urn:cmanager:stream:0";
local xmlns_starttls = "urn:ietf:params:xml:ns:xmpp-tls";
local xmlns_sasl = "urn:ietf:params:xml:ns:xmpp-sasl";
local xmlns_register = "http://jabber.org/features/iq-register";
local xmlns_auth = "http://jabber.org/features/iq-auth";

local function noop() end

-- A session on its best day: encrypted, not logged in.
local function imaginary_session(host)
	local conn = tls.new_leg("127.0.0.1", nil, function () return true; end, noop);
	conn:encrypt({ version = "TLSv1.3", cipher = "TLS_AES_256_GCM_SHA384", bindings = {} });
	return {
		type = "c2s_unauthed", base_type = "c2s", id = "c2s-connection-manager";
		host = host, ip = "127.0.0.1", conn = conn, version = 1.0;
		secure = true, encrypted = true, ssl_cfg = {};
		log = module._log, send = noop, rawsend = noop, close = noop, reset_stream = noop;
		filter = function (_, data) return data; end;
	};
end

local function disabled_mechanisms(host)
	return module:context(host):get_option_set("disable_sasl_mechanisms", { "DIGEST-MD5" });
end

-- Whether SCRAM-...-PLUS may be used on a host at all.
local function plus_mechanisms(handler, host)
	local disabled, names = disabled_mechanisms(host), {};
	if handler and handler.add_cb_handler and type(handler.mechs) == "table" then
		for name in pairs(handler.mechs) do
			if name:match("%-PLUS$") and not disabled:contains(name) then table.insert(names, name); end
		end
	end
	return names;
end

-- Strong before weak, as far as names can tell, and the same at each call.
local function sorted(names)
	table.sort(names, function (a, b) return a > b; end);
	return names;
end

-- "required", "optional" or "disabled": what managers shall do about STARTTLS.
local function client_tls(host)
	local context = module:context(host);
	local policy = context:get_option_string("connection_manager_client_tls");
	if policy == "required" or policy == "optional" or policy == "disabled" then return policy; end
	local required = context:get_option_boolean("c2s_require_encryption", context:get_option_boolean("require_encryption", true));
	return required and "required" or "optional";
end

-- Adds what one host offers to parent, in the vocabulary of <configuration/>.
local function describe(parent, host)
	local session = imaginary_session(host);
	local features = st.stanza("stream:features");
	local ok, problem = xpcall(prosody.hosts[host].events.fire_event, debug.traceback,
		"stream-features", { origin = session, features = features });
	if not ok then module:log("error", "What %s offers to clients is not known: %s", host, problem); end

	local policy = client_tls(host);
	if policy ~= "disabled" then
		parent:tag("starttls", { xmlns = xmlns_starttls });
		if policy == "required" then parent:tag("required"):up(); end
		parent:up();
	end

	local offered, names = features:get_child("mechanisms", xmlns_sasl), {};
	local bound = plus_mechanisms(session.sasl_handler, host);
	if offered then
		for mechanism in offered:childtags("mechanism") do
			local name = mechanism:get_text();
			-- Managers that know of no extension cannot carry these two.
			if name == "EXTERNAL" then
				table.insert(bound, name);
			elseif not name:match("%-PLUS$") then
				table.insert(names, name);
			end
		end
	end
	if module:context(host):get_option_boolean("connection_manager_external", false)
	and not disabled_mechanisms(host):contains("EXTERNAL") and not set.new(bound):contains("EXTERNAL") then
		table.insert(bound, "EXTERNAL");
	end
	if names[1] then
		parent:tag("mechanisms", { xmlns = xmlns_sasl });
		for _, name in ipairs(sorted(names)) do parent:text_tag("mechanism", name); end
		parent:up();
	end
	if features:get_child("auth", xmlns_auth) then parent:tag("auth", { xmlns = xmlns_auth }):up(); end
	if features:get_child("register", xmlns_register) then parent:tag("register", { xmlns = xmlns_register }):up(); end
	parent:add_child(tls.announcement(sorted(bound)));
end

-- <configuration/>: the default host's offer for managers that know one domain only, and
-- each host's by itself for those that read on.
local function configuration(default_host, hosts)
	local element = st.stanza("configuration", { xmlns = xmlns_configuration });
	if default_host then describe(element, default_host); end
	element:tag("stream", { xmlns = xmlns_stream });
	for _, host in ipairs(hosts) do
		element:tag("domain", { name = host });
		describe(element, host);
		element:up();
	end
	return element:reset();
end

return {
	xmlns = xmlns_configuration;
	xmlns_stream = xmlns_stream;
	configuration = configuration;
	client_tls = client_tls;
	plus_mechanisms = plus_mechanisms;
	disabled_mechanisms = disabled_mechanisms;
};
