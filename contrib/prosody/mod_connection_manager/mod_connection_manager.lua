-- mod_connection_manager: connection managers in front of Prosody (jabber:connectionmanager).
--
-- Copyright the cmanager authors.  See LICENSE for details.
--
-- Words used here:
--   manager   a process that holds clients' connections, known by its name
--   link      one stream between a manager and us; a manager may have several
--   client    a session of Prosody's that has no connection of its own, and the record of it
--   route     an element of a client's stream, wrapped for a link

module:set_global();

local async = require "util.async";
local cache = require "util.cache";
local hashes = require "util.hashes";
local ip = require "util.ip";
local jid_bare = require "util.jid".bare;
local jid_prepped_split = require "util.jid".prepped_split;
local logger = require "util.logger";
local new_id = require "util.id";
local now = require "util.time".now;
local sessionmanager = require "core.sessionmanager";
local st = require "util.stanza";
local timer = require "util.timer";
local usermanager = require "core.usermanager";
local xml_escape = st.xml_escape;
local xpcall = require "util.xpcall".xpcall;
local create_context = require "core.certmanager".create_context;
local nameprep = require "util.encodings".stringprep.nameprep;
local new_xmpp_stream = require "util.xmppstream".new;

local features = module:require "features";
local tls = module:require "tls";

local hosts = prosody.hosts;
local core_process_stanza = prosody.core_process_stanza;

local xmlns_link = "jabber:connectionmanager";
local xmlns_client = "jabber:client";
local xmlns_management = features.xmlns;
local xmlns_management_errors = xmlns_management.."#errors";
local xmlns_stream = features.xmlns_stream;
local xmlns_streams = "http://etherx.jabber.org/streams";
local xmlns_stream_errors = "urn:ietf:params:xml:ns:xmpp-streams";
local xmlns_stanza_errors = "urn:ietf:params:xml:ns:xmpp-stanzas";
local xmlns_starttls = "urn:ietf:params:xml:ns:xmpp-tls";
local xmlns_sasl = "urn:ietf:params:xml:ns:xmpp-sasl";

-- Before the handshake nobody has business with large elements or a long stay.
local unauthed_stanza_size_limit = 10000;
local unauthed_timeout = 30;
local max_unauthed_links = 64;
-- One host alone is not to use them up; several managers on one may all begin at once.
local max_unauthed_links_from_one_address = 16;
-- Stanzas of one client that wait for a module that is waiting itself; their bytes are
-- bounded, too, by an option.
local max_pending_stanzas = 256;
-- Clients that have left, so that their undelivered messages are still taken back.
local max_departed, departed_memory = 10000, 60;
-- Messages of one manager that wait for storage.
local max_returns = 1000;
local max_stream_id_bytes = 256;
-- Below the 32 MiB at which Prosody 13 cuts any connection.
local default_send_buffer = 16*1024*1024;
local stop_timeout = 5;
local min_keepalive = 1;

local legacy_error_codes = {
	["bad-request"] = { "400", "modify" };
	["not-authorized"] = { "401", "auth" };
	["item-not-found"] = { "404", "cancel" };
	["not-allowed"] = { "405", "cancel" };
	["conflict"] = { "409", "cancel" };
	["internal-server-error"] = { "500", "wait" };
	["resource-constraint"] = { "500", "wait" };
	["service-unavailable"] = { "503", "cancel" };
};

local managers = {}; -- by name
local links = {}; -- by connection
local unauthed_links = 0;
local unauthed_links_from = {}; -- by address
local on_last_link_gone; -- set while Prosody is stopping

-- mod_c2s's own table: it counts, lists and stops what is in it.
local c2s_sessions = module:shared("/*/c2s/sessions");

-- Read when needed: a reload of the configuration is enough to change it.
local getters = { boolean = module.get_option_boolean, number = module.get_option_number, string = module.get_option_string };
local function option(kind, name, default)
	return getters[kind](module, "connection_manager_"..name, default);
end

-- An option of mod_c2s.  Prosody 13 writes "5 minutes" where 0.12 writes 300.
local function period(name, default)
	return (module.get_option_period or module.get_option_number)(module, name, default);
end

local function is_served(host)
	local found = hosts[host];
	return found and found.type == "local" and found.modules and found.modules.connection_manager and true or false;
end

local function served_hosts()
	local names = {};
	for host in pairs(hosts) do
		if is_served(host) then table.insert(names, host); end
	end
	table.sort(names);
	return names;
end

local function default_host()
	local host = option("string", "host");
	host = host and nameprep(host);
	if host and is_served(host) then return host; end
	return served_hosts()[1];
end

-- Errors

local function stream_error(reason)
	if st.is_stanza(reason) then return reason; end
	if type(reason) == "string" then reason = { condition = reason }; end
	local element = st.stanza("stream:error", { ["xmlns:stream"] = xmlns_streams })
		:tag(reason.condition or "undefined-condition", { xmlns = xmlns_stream_errors }):up();
	if reason.text then element:tag("text", { xmlns = xmlns_stream_errors }):text(reason.text):up(); end
	if reason.extra then element:add_child(reason.extra); end
	return element;
end

local function add_error(element, condition, detail)
	local known = legacy_error_codes[condition];
	element:tag("error", { code = known[1], type = known[2] })
		:tag(condition, { xmlns = xmlns_stanza_errors }):up();
	if detail then element:tag(detail, { xmlns = xmlns_management_errors }):up(); end
	return element:reset();
end

local function iq_reply(link, iq, condition, detail)
	local reply = st.stanza("iq", {
		type = condition and "error" or "result", id = iq.attr.id, from = iq.attr.to, to = iq.attr.from;
	});
	if iq.tags[1] then reply:add_direct_child(iq.tags[1]); end
	if condition then add_error(reply, condition, detail); end
	link.send(reply);
end

local function route_error(link, route, condition, detail)
	link.send(add_error(st.stanza("route", {
		type = "error", streamid = route.attr.streamid, id = route.attr.id, from = route.attr.to, to = route.attr.from;
	}), condition, detail));
end

-- Messages that did not arrive

-- Hands a message to what Prosody does where nobody is at home.
local function store(username, host, origin, message)
	local kind = message.attr.type;
	if kind == "error" or kind == "headline" or kind == "groupchat" then return; end
	if message:get_child("result", "urn:xmpp:mam:2")
	or message:get_child("sent", "urn:xmpp:carbons:2") or message:get_child("received", "urn:xmpp:carbons:2") then
		return; -- copies: the archive has what they were made of
	end
	message = st.clone(message);
	message.attr.to = message.attr.to or username.."@"..host;
	if usermanager.user_exists(username, host)
	and hosts[host].events.fire_event("message/offline/handle", { username = username, origin = origin, stanza = message }) then
		return;
	end
	if message.attr.from then
		module:context(host):send(st.error_reply(message, "cancel", "service-unavailable"));
	end
end

-- Accounts and storage may be elsewhere, and may be waited for only in a thread.  There is
-- one for each manager, so that messages are stored in the order in which they came back.
local function take_back(work)
	work.manager.returning = work.manager.returning - 1;
	work.manager.returned = work;
	store(work.username, work.host, work.origin, work.message);
	if work.iq then iq_reply(work.link, work.iq); end
end

local return_callbacks = {};
function return_callbacks:error(problem)
	local work = self.data.returned;
	module:log("error", "Traceback[connection_manager]: %s", problem);
	if work.iq then iq_reply(work.link, work.iq, "internal-server-error"); end
end

-- Answers iq, if there is one, when the message is stored.
local function store_undelivered(manager, username, host, origin, message, link, iq)
	if manager.returning >= max_returns then
		module:log("error", "Too many messages of %s wait to be stored; one is lost", manager.name);
		return iq and iq_reply(link, iq, "resource-constraint");
	end
	manager.returning = manager.returning + 1;
	manager.returns:run({
		manager = manager, username = username, host = host, origin = origin, message = message, link = link, iq = iq;
	});
end

-- Clients

local function select_link(client)
	local link = client.link;
	if link and link.type == "connection_manager" then return link; end
	local candidates = client.manager.links;
	if #candidates == 0 then return nil; end
	local sum = 0;
	for i = 1, #client.id do sum = (sum * 31 + client.id:byte(i)) % 65521; end
	client.link = candidates[sum % #candidates + 1];
	return client.link;
end

-- Sends a piece of the client's stream, or keeps it where there is no link.
-- message is what is to be stored if the piece never arrives.  What waits for all clients
-- of a manager is bounded like what waits on one of its links.
local function deliver(client, data, message)
	if client.closed then return nil, "closed"; end
	-- Headers, footers and white space are the manager's to write.
	if not data:match("^%s*<[^?/]") or data:match("^%s*<stream:stream[%s>]") then return true; end
	local link = select_link(client);
	if link then return link.send(client.route_head..data.."</route>"); end
	local manager = client.manager;
	if client.waiting_bytes + #data > option("number", "queue_bytes", 65536)
	or manager.waiting_bytes + #data > option("number", "send_buffer", default_send_buffer) then
		return nil, "no link";
	end
	client.waiting_bytes = client.waiting_bytes + #data;
	manager.waiting_bytes = manager.waiting_bytes + #data;
	table.insert(client.waiting, { data = data, message = message and st.clone(message) });
	return true;
end

-- Takes what waits for a link away from a client.
local function take_waiting(client)
	local waiting = client.waiting;
	client.manager.waiting_bytes = client.manager.waiting_bytes - client.waiting_bytes;
	client.waiting, client.waiting_bytes = {}, 0;
	return waiting;
end

local function store_pieces(client, pieces)
	for _, piece in ipairs(pieces) do
		if piece.message and client.username then
			store_undelivered(client.manager, client.username, client.host, hosts[client.host], piece.message);
		end
	end
end

local function depart(client)
	client.manager.clients[client.id] = nil;
	client.manager.count = client.manager.count - 1;
	if client.username then
		client.manager.departed:set(client.id, { username = client.username, host = client.host, time = now() });
	end
	if client.login_timer then timer.stop(client.login_timer); end
	c2s_sessions[client.conn] = nil;
end

local forget_manager_if_idle; -- forward declaration

-- Ends the session on our side.  Writes nothing.
local function end_client(client, reason_text)
	if client.closed then return; end
	client.closed = true;
	local session = client.session;
	client.username = session.username or client.username;
	depart(client);
	local ok, problem = xpcall(sessionmanager.destroy_session, debug.traceback, session, reason_text);
	if not ok then client.log("error", "Traceback[connection_manager]: %s", problem); end
	prosody.events.fire_event("c2s-closed", { session = session, conn = client.conn });
	store_pieces(client, take_waiting(client));
	forget_manager_if_idle(client.manager);
end

-- The client of a stream id, if it is still there.
local function find_client(manager, id)
	local client = manager.clients[id];
	if client and client.session.destroyed then
		end_client(client); -- somebody destroyed the session without closing it
		return nil;
	end
	return client;
end

-- What session.close() does: tells the manager in every case, and why if there is a why.
local function close_client(client, reason)
	if client.closed then return; end
	local session = client.session;
	local event = { session = session, reason = reason };
	module:context(session.host):fire_event("pre-session-close", event);
	reason = event.reason;
	local text;
	if reason then
		local element = stream_error(reason);
		text = type(reason) == "table" and (reason.text or reason.condition) or tostring(reason);
		session.log("debug", "Disconnecting client: %s", element);
		deliver(client, tostring(element));
	end
	local link = select_link(client);
	if link then
		link.send(st.iq({ type = "set", id = new_id.short(), from = client.host, to = client.manager.name })
			:tag("session", { xmlns = xmlns_management, id = client.id }):tag("close"):reset());
	end
	session.log("info", "Session of %s closed: %s", session.full_jid or session.ip, text or "no error");
	end_client(client, text);
end

-- Fires "stream-features" as a stream header would, which prepares the session for SASL.
local function prepare_login(client)
	local session = client.session;
	session.sasl_handler = nil;
	hosts[session.host].events.fire_event("stream-features", { origin = session, features = st.stanza("stream:features") });
	local handler = session.sasl_handler;
	if handler and client.tls then
		local with_plus = features.plus_mechanisms(handler, session.host)[1] ~= nil;
		local external;
		if module:context(session.host):get_option_boolean("connection_manager_external", false)
		and not features.disabled_mechanisms(session.host):contains("EXTERNAL")
		and tls.certificate_users(client.tls, session.host)[1] then
			external = tls.external_backend(client.tls, session.host, usermanager.user_exists);
		end
		session.sasl_handler = tls.bind_sasl(handler, client.tls, with_plus, external);
	end
end

-- One step of a client's stream, in the session's own thread.
local function process(work)
	local client, stanza = work.client, work.stanza;
	client.pending, client.pending_bytes = client.pending - 1, client.pending_bytes - (work.bytes or 0);
	client.current = work;
	if client.closed then return; end
	local session = client.session;
	if work.finish then
		session.log("info", "Client disconnected");
		end_client(client);
	elseif stanza then
		if stanza.name == "auth" and session.type == "c2s_unauthed" then
			if not session.sasl_handler or session.sasl_handler.selected then prepare_login(client); end
			if stanza.attr.mechanism == "EXTERNAL" and stanza:get_text() == "" then
				stanza:text("="); -- Prosody's EXTERNAL takes no challenge
			end
		end
		core_process_stanza(session, stanza);
		client.username = session.username or client.username;
	else
		prepare_login(client);
	end
end

local thread_callbacks = {};
function thread_callbacks:error(problem)
	local client = self.data;
	client.log("error", "Traceback[connection_manager]: %s", problem);
	local work = client.current;
	if work and work.route and work.link.type == "connection_manager" then
		route_error(work.link, work.route, "internal-server-error");
	end
end

-- Tells modules that the client's side is encrypted.
local function encrypt(client, found)
	client.tls = found;
	client.conn:encrypt(found);
	client.session.secure = true;
	client.session.encrypted = true;
end

local function new_client(manager, link, id, host, address)
	local client = {
		manager = manager, link = link, id = id, host = host;
		waiting = {}, waiting_bytes = 0, pending = 0, pending_bytes = 0, seen = now(), lang = "en";
		route_head = ("<route streamid='%s' from='%s' to='%s'>"):format(xml_escape(id), xml_escape(host), xml_escape(manager.name));
	};
	local conn = tls.new_leg(address or link.conn:ip(), link.conn,
		function (data) return deliver(client, data); end,
		function () close_client(client); end);
	client.conn = conn;
	local session = sessionmanager.new_session(conn);
	client.session, client.log = session, session.log;
	session.host, session.streamid, session.version = host, id, 1.0;
	session.ssl_cfg = {}; -- no certificate of ours is shown to the client
	session.connection_manager = manager.name;
	session.close = function (_, reason) close_client(client, reason); end;
	-- The manager opens and restarts streams.
	session.open_stream = function () return true; end;
	session.reset_stream = function () end;
	-- As the session manager's, but a message can be told from other bytes.
	function session.rawsend(data, message)
		data = session.filter("bytes/out", tostring(data));
		if not data then return true; end
		return deliver(client, data, message);
	end
	function session.send(element)
		local message;
		session.log("debug", "Sending[%s]: %s", session.type, element.top_tag and element:top_tag() or element:match("^[^>]*>?"));
		if element.name then
			element = session.filter("stanzas/out", element);
			if not element then return true; end
			message = element.name == "message" and element or nil;
		end
		return session.rawsend(element, message);
	end
	if option("boolean", "trusted_secure", false) then session.secure = true; end
	session.thread = async.runner(process, thread_callbacks, client);

	manager.clients[id] = client;
	manager.count = manager.count + 1;
	c2s_sessions[conn] = session;
	local timeout = period("c2s_timeout", 300);
	if timeout and timeout < math.huge then
		client.login_timer = timer.add_task(timeout, function ()
			client.login_timer = nil;
			if not client.closed and session.type == "c2s_unauthed" then close_client(client, "connection-timeout"); end
		end);
	end
	return client;
end

local function run(client, work)
	if work.stanza and client.session.thread.state ~= "ready" then
		-- It is written out to be measured only where it has to wait.
		work.bytes = #tostring(work.stanza);
		local before = client.pending_bytes;
		if client.pending >= max_pending_stanzas
		or before > 0 and before + work.bytes > option("number", "pending_bytes", 1024*1024) then
			close_client(client, { condition = "policy-violation", text = "Too many stanzas are waiting" });
			return;
		end
		client.pending_bytes = before + work.bytes;
	end
	client.pending = client.pending + 1;
	work.client = client;
	client.session.thread:run(work);
end

-- Elements that inherited the link's namespace, or say jabber:client, are the client's.
local content_namespaces = { [xmlns_client] = true, [xmlns_link] = true, [xmlns_management] = true };
local function to_content(element)
	if element.attr.xmlns and not content_namespaces[element.attr.xmlns] then return; end
	element.attr.xmlns = nil;
	for _, child in ipairs(element.tags) do to_content(child); end
end

-- Managers

-- Does something to each client of a manager.  What modules raise is one client's affair.
local function with_clients(manager, act, ...)
	local all = {};
	for _, client in pairs(manager.clients) do table.insert(all, client); end
	for _, client in ipairs(all) do
		local ok, problem = xpcall(act, debug.traceback, client, ...);
		if not ok then client.log("error", "Traceback[connection_manager]: %s", problem); end
	end
	return all;
end

-- Ends all sessions of a manager that does not come back.
local function end_manager(manager, why)
	if manager.grace_timer then timer.stop(manager.grace_timer); manager.grace_timer = nil; end
	if manager.count > 0 then module:log("info", "Ending %d sessions of %s: %s", manager.count, manager.name, why); end
	with_clients(manager, end_client, why);
	forget_manager_if_idle(manager);
end

function forget_manager_if_idle(manager)
	-- A departed client's messages may still come back, for as long as there is a link.
	if #manager.links == 0 and manager.count == 0 and managers[manager.name] == manager then
		if manager.grace_timer then timer.stop(manager.grace_timer); manager.grace_timer = nil; end
		managers[manager.name] = nil;
	end
end

-- The manager is back within its grace.  Whether it still knows its clients has to be
-- seen: each is asked for a sign of life, which a manager answers with <close/> where it
-- does not know the stream.
local function welcome_back(manager)
	timer.stop(manager.grace_timer);
	manager.grace_timer = nil;
	local asked = now();
	local all = with_clients(manager, function (client)
		local lost = {};
		for _, piece in ipairs(take_waiting(client)) do
			if not deliver(client, piece.data, piece.message) then table.insert(lost, piece); end
		end
		store_pieces(client, lost);
		if client.session.full_jid then
			client.session.send(st.iq({ type = "get", id = "cm-"..new_id.short(), from = client.host, to = client.session.full_jid })
				:tag("ping", { xmlns = "urn:xmpp:ping" }):reset());
		end
	end);
	timer.add_task(option("number", "probe_timeout", 60), function ()
		for _, client in ipairs(all) do
			if not client.closed and client.seen < asked and client.session.full_jid then
				close_client(client, { condition = "connection-timeout", text = "No sign of life after the links were lost" });
			end
		end
	end);
end

local function enter(link)
	local manager = managers[link.manager_name];
	if not manager then
		manager = {
			name = link.manager_name, links = {}, clients = {}, count = 0, departed = cache.new(max_departed);
			waiting_bytes = 0, returning = 0;
		};
		manager.returns = async.runner(take_back, return_callbacks, manager);
		managers[link.manager_name] = manager;
	end
	link.manager = manager;
	link.type = "connection_manager";
	table.insert(manager.links, link);
	return manager;
end

-- A link is of no use any more, though its connection may take minutes to end.
local function leave(link, problem)
	if link.type ~= "connection_manager" then return; end
	link.closing, link.type = true, "connection_manager_destroyed";
	link.log("info", "Link %s is gone: %s", link.address, problem or "closed");
	local manager = link.manager;
	for i, other in ipairs(manager.links) do
		if other == link then table.remove(manager.links, i); break; end
	end
	if #manager.links > 0 then return; end
	if manager.count == 0 then return forget_manager_if_idle(manager); end
	local grace = option("number", "grace", 15);
	if link.cleanly or grace <= 0 then return end_manager(manager, "The connection manager has left"); end
	module:log("warn", "All links of %s are lost; its %d sessions wait %gs for a new one", manager.name, manager.count, grace);
	manager.grace_timer = timer.add_task(grace, function ()
		manager.grace_timer = nil;
		end_manager(manager, "The connection manager is gone");
	end);
end

-- Links

local function close_link(link, reason)
	if link.closing then return; end
	if link.notopen then link:open_stream(); end
	if reason then link.send(stream_error(reason)); end
	link.send("</stream:stream>");
	link.closing = true;
	link.conn:close();
	leave(link);
end

-- How much waits to be written, where the connection can be asked that.
local function pending_bytes(conn)
	local buffer = conn.writebuffer;
	if type(buffer) == "string" then return #buffer; end
	if type(buffer) ~= "table" then return nil; end
	if buffer.length then return buffer:length(); end -- Prosody 13
	local sum = 0;
	for _, data in ipairs(buffer) do sum = sum + #data; end
	return sum;
end

-- Counts the links without a handshake, in all and from an address.
local function count_unauthed(address, by)
	unauthed_links = unauthed_links + by;
	local count = (unauthed_links_from[address] or 0) + by;
	unauthed_links_from[address] = count > 0 and count or nil;
end

local cut_link; -- forward declaration

local function new_link(conn)
	local link = { type = "connection_manager_unauthed", conn = conn, ip = conn:ip(), notopen = true, seen = now(), unsent = 0 };
	link.id = "cm"..tostring(link):match("%x+$"):lower();
	link.log = logger.init(link.id);
	link.secure = conn:ssl() and true or nil;
	function link.send(data)
		if link.closing then return nil, "closing"; end
		data = tostring(data);
		local limit = option("number", "send_buffer", default_send_buffer);
		link.unsent = link.unsent + #data;
		if link.unsent > limit then
			-- On a busy link ondrain may not have been called for long.
			link.unsent = (pending_bytes(conn) or link.unsent - #data) + #data;
		end
		if link.unsent > limit then
			link.log("error", "%s does not read: closing the link", link.address or conn:ip());
			link.closing = true; -- an error would only wait behind the rest
			timer.add_task(0, function () cut_link(link, "the manager does not read"); end);
			return nil, "full";
		end
		return conn:write(data);
	end
	link.close = close_link;
	return link;
end

local link_streams = { default_ns = xmlns_link };

local function open_link_stream(link)
	local header = st.stanza("stream:stream", {
		xmlns = xmlns_link, ["xmlns:stream"] = xmlns_streams, version = "1.0", id = link.streamid, from = link.address;
	});
	link.notopen = nil;
	link.send("<?xml version='1.0'?>"..header:top_tag());
end

local function starttls_policy()
	local policy = option("string", "starttls", "disabled");
	if policy == "optional" or policy == "required" then return policy; end
end

function link_streams.streamopened(link, attr)
	-- The same for all of a connection: managers may hash the one of before TLS.
	link.streamid = link.streamid or new_id.long();
	link.open_stream = open_link_stream;
	if link.tls_started then
		link.secure, link.tls_started = true, nil;
		local socket = link.conn:socket();
		local found = socket.info and socket:info() or {};
		link.log("info", "Link encrypted (%s with %s)", found.protocol, found.cipher);
	end
	local node, name, resource = jid_prepped_split(attr.to or "");
	if not name or node or (link.address and link.address ~= attr.to) then
		return link:close{ condition = "improper-addressing", text = "'to' must be the manager's name, a slash and the link's name" };
	end
	link.manager_name, link.address = name, attr.to;
	link.log("debug", "Link %s of %s", resource or "", name);
	link:open_stream();
	local offered = st.stanza("stream:features");
	if not link.secure and starttls_policy() then
		offered:tag("starttls", { xmlns = xmlns_starttls });
		if starttls_policy() == "required" then offered:tag("required"):up(); end
		offered:up();
	end
	link.send(offered);
end

function link_streams.streamclosed(link)
	link.log("debug", "The manager has closed the link");
	link.cleanly = true;
	link:close();
end

function link_streams.error(link, problem, data)
	if problem == "stream-error" then
		local condition = data.tags[1] and data.tags[1].name;
		link.log("info", "The manager has ended the link: %s", condition);
		link.cleanly = condition == "system-shutdown";
		link:close();
	elseif problem == "no-stream" then
		link.open_stream = open_link_stream;
		link.streamid = link.streamid or new_id.long();
		link:close("invalid-namespace");
	else
		link.log("warn", "Bad XML from the manager: %s", data);
		link.streamid, link.open_stream = link.streamid or new_id.long(), open_link_stream;
		link:close("not-well-formed");
	end
end

local function start_tls(link)
	local proceed = not link.secure and starttls_policy();
	local context, problem;
	if proceed then
		context, problem = create_context(default_host() or "localhost", "server", module:get_option("connection_manager_ssl"));
	end
	if not context then
		link.log("error", "No TLS for this link: %s", problem or "not configured");
		link.send(st.stanza("failure", { xmlns = xmlns_starttls }));
		return link:close();
	end
	link.send(st.stanza("proceed", { xmlns = xmlns_starttls }));
	link.notopen, link.tls_started = true, true;
	link.stream:reset();
	link.conn:starttls(context);
end

-- The secrets a manager may use: its own if it has any, those of the manager whose worker
-- it is by its name ("cm1-0" of "cm1"), else the common ones.
local function secrets_of(name)
	local by_name = {};
	local own = module:get_option("connection_manager_secrets");
	for key, value in pairs(type(own) == "table" and own or {}) do
		-- The name has been prepared, as all addresses are.
		local prepared = type(key) == "string" and nameprep(key);
		if prepared then by_name[prepared] = value; end
	end
	local secrets = by_name[name];
	if secrets == nil then secrets = by_name[name:match("^(.+)%-%d+$")]; end
	if secrets == nil then secrets = module:get_option("connection_manager_secret"); end
	if type(secrets) ~= "table" then secrets = { secrets }; end
	return secrets;
end

local function is_authentic(link, digest)
	local right = false;
	for _, secret in ipairs(secrets_of(link.manager_name)) do
		if type(secret) == "string" and secret ~= "" then
			-- Every secret is tried, so that time tells nothing of which one was right.
			right = hashes.equals(hashes.sha1(link.streamid..secret, true), digest) or right;
		end
	end
	return right;
end

local function push_configuration(link)
	if link.closing then return; end
	local payload = features.configuration(default_host(), served_hosts());
	local text = tostring(payload);
	if text == link.configuration then return; end
	link.configuration = text;
	link.send(st.iq({ type = "set", id = new_id.short() }):add_child(payload));
end

local function handshake(link, element)
	if starttls_policy() == "required" and not link.secure then
		return link:close{ condition = "not-authorized", text = "TLS is required" };
	end
	local digest = (element:get_text() or ""):gsub("%s+", ""):lower();
	if not is_authentic(link, digest) then
		link.log("warn", "Wrong secret for connection manager %s, from %s", link.manager_name, link.conn:ip());
		return link:close("not-authorized");
	end
	count_unauthed(link.ip, -1);
	local manager = enter(link);
	link.stream:set_stanza_size_limit(option("number", "stanza_size_limit", 1024*1024));
	link.log("info", "Link %s is ready", link.address);
	link.send(st.stanza("handshake"));
	push_configuration(link);
	if manager.grace_timer then welcome_back(manager); end
end

-- Management: what a manager says about its clients

local management = {};

local function requested_host(iq, description)
	local wanted = description and description.attr.to or iq.attr.to;
	if not wanted then return default_host(); end
	wanted = nameprep(wanted);
	return wanted and is_served(wanted) and wanted or nil;
end

function management.create(link, iq, request, action)
	local manager, id = link.manager, request.attr.id;
	if find_client(manager, id) then return iq_reply(link, iq, "conflict"); end
	if #id > max_stream_id_bytes then return iq_reply(link, iq, "bad-request", "invalid-payload"); end
	if manager.count >= option("number", "max_sessions", 100000) then return iq_reply(link, iq, "resource-constraint"); end
	local description = action:get_child("stream", xmlns_stream);
	local host = requested_host(iq, description);
	if not host then return iq_reply(link, iq, "service-unavailable", "host-unknown"); end
	local found = action:get_child("tls", tls.xmlns);
	if found then
		local problem;
		found, problem = tls.parse(found);
		if not found then
			link.log("warn", "The manager sent %s", problem);
			return iq_reply(link, iq, "bad-request", "invalid-payload");
		end
	end
	local leg = action:get_child("host");
	local address = leg and leg.attr.address;
	if address and not ip.new_ip(address) then address = nil; end

	local event = { manager = manager.name, host = host, ip = address, tls = found };
	if module:fire_event("connection-manager/client-connecting", event) == false then
		return iq_reply(link, iq, "not-allowed");
	end
	local client = new_client(manager, link, id, host, address);
	client.lang = description and description.attr.lang or client.lang;
	if found then encrypt(client, found); end
	client.session.log("info", "Client connected through %s", link.address);
	iq_reply(link, iq);
	run(client, { link = link });
end

function management.close(link, iq, request)
	local client = find_client(link.manager, request.attr.id);
	if not client then return iq_reply(link, iq, "item-not-found"); end
	client.seen = now();
	iq_reply(link, iq);
	run(client, { finish = true }); -- behind what the client has sent before
	if not client.closed and not client.finishing then
		-- A module is still at work for it, but nobody waits for that for ever.
		client.finishing = true;
		timer.add_task(period("c2s_close_timeout", 5), function () end_client(client); end);
	end
end

function management.failed(link, iq, request, action)
	local client, gone = find_client(link.manager, request.attr.id), nil;
	if not client then
		gone = link.manager.departed:get(request.attr.id);
		if not gone or gone.time + departed_memory < now() then return iq_reply(link, iq, "item-not-found"); end
	end
	local message = action.tags[1];
	if not message or action.tags[2] then return iq_reply(link, iq, "bad-request", "invalid-payload"); end
	to_content(message);
	if message.name ~= "message" or message.attr.xmlns then return iq_reply(link, iq, "bad-request", "unknown-stanza"); end
	local username, host = gone and gone.username or client and client.session.username, gone and gone.host or client and client.host;
	if username then
		local to = message.attr.to;
		if to and jid_bare(to) ~= username.."@"..host then return iq_reply(link, iq, "bad-request", "invalid-payload"); end
		return store_undelivered(link.manager, username, host, client and client.session or hosts[host], message, link, iq);
	end
	iq_reply(link, iq);
end

-- urn:cmanager:tls:0: the client was announced before its TLS was there.
function management.tls(link, iq, request, action)
	local client = find_client(link.manager, request.attr.id);
	if not client then return iq_reply(link, iq, "item-not-found"); end
	local found = action.attr.xmlns == tls.xmlns and not client.tls and not client.has_begun
		and client.session.type == "c2s_unauthed" and tls.parse(action);
	if not found then return iq_reply(link, iq, "bad-request", "invalid-payload"); end
	encrypt(client, found);
	iq_reply(link, iq);
	run(client, { link = link });
end

local function process_iq(link, iq)
	local kind = iq.attr.type;
	if kind == "result" then return; end
	if kind == "error" then
		link.log("warn", "The manager answered with an error: %s", iq:get_error());
		return;
	end
	local request = iq.tags[1];
	if kind ~= "set" or not request then return iq_reply(link, iq, "bad-request"); end
	if (request.attr.id or "") == "" then return iq_reply(link, iq, "bad-request", "id-required"); end
	if request.name ~= "session" or request.attr.xmlns ~= xmlns_management then return iq_reply(link, iq, "bad-request"); end
	local action = request.tags[1];
	local act = action and (action.attr.xmlns == xmlns_management or action.name == "tls") and management[action.name];
	if act then return act(link, iq, request, action); end
	iq_reply(link, iq, link.manager.clients[request.attr.id] and "bad-request" or "item-not-found");
end

local routable = { iq = true, message = true, presence = true };
local routable_sasl = { auth = true, response = true, abort = true };

local function process_route(link, route)
	if route.attr.type == "error" then return; end
	local id = route.attr.streamid;
	if not id or id == "" then return route_error(link, route, "bad-request", "id-required"); end
	local client = find_client(link.manager, id);
	if not client then return route_error(link, route, "item-not-found"); end
	local stanza = route.tags[1];
	if not stanza or route.tags[2] then return route_error(link, route, "bad-request", "invalid-payload"); end
	client.link, client.seen = link, now();
	to_content(stanza);
	local xmlns = stanza.attr.xmlns;
	if not (not xmlns and routable[stanza.name] or xmlns == xmlns_sasl and routable_sasl[stanza.name]) then
		return route_error(link, route, "bad-request", "unknown-stanza");
	end
	client.has_begun = client.has_begun or xmlns == xmlns_sasl;
	stanza.attr["xml:lang"] = stanza.attr["xml:lang"] or client.lang;
	stanza = client.session.filter("stanzas/in", stanza);
	if stanza then run(client, { stanza = stanza, link = link, route = route }); end
end

local function process_element(link, element)
	local name, xmlns = element.name, element.attr.xmlns;
	if link.type ~= "connection_manager" then
		if name == "handshake" and not xmlns then return handshake(link, element); end
		if name == "starttls" and xmlns == xmlns_starttls then return start_tls(link); end
		-- The answer that the protocol knows, and then no second try.
		if not xmlns and name == "iq" then iq_reply(link, element, "not-authorized"); end
		if not xmlns and name == "route" then route_error(link, element, "not-authorized"); end
		return link:close("not-authorized");
	end
	if not xmlns and name == "route" then
		process_route(link, element);
	elseif not xmlns and name == "iq" then
		process_iq(link, element);
	else
		link.log("warn", "The manager sent something unknown: %s", element:top_tag());
		link:close("unsupported-stanza-type");
	end
end

-- What modules raise is one request's affair: the parser must not learn of it, for it
-- would read nothing from then on.
function link_streams.handlestanza(link, element)
	if link.closing then return; end
	local ok, problem = xpcall(process_element, debug.traceback, link, element);
	if ok then return; end
	link.log("error", "Traceback[connection_manager]: %s", problem);
	if element.name == "route" then return route_error(link, element, "internal-server-error"); end
	if element.name == "iq" then return iq_reply(link, element, "internal-server-error"); end
	link:close("internal-server-error");
end

-- The port

local listener = {};

function listener.onconnect(conn)
	local address = conn:ip();
	if unauthed_links >= max_unauthed_links
	or (unauthed_links_from[address] or 0) >= max_unauthed_links_from_one_address then
		module:log("warn", "Too many links without a handshake; refusing %s", address);
		conn:close();
		return;
	end
	count_unauthed(address, 1);
	local link = new_link(conn);
	links[conn] = link;
	conn:setoption("keepalive", true);
	link.open_stream = open_link_stream;
	local stream = new_xmpp_stream(link, link_streams, unauthed_stanza_size_limit);
	link.open_stream = open_link_stream; -- the stream's own speaks to clients and servers
	link.stream = stream;
	timer.add_task(unauthed_timeout, function ()
		if link.type == "connection_manager_unauthed" and not link.closing then link:close("connection-timeout"); end
	end);
end

function listener.onincoming(conn, data)
	local link = links[conn];
	if not link or link.closing then return; end
	link.seen = now();
	local ok, problem = link.stream:feed(data);
	if ok or link.closing then return; end
	link.log("warn", "Bad data from %s: %s", link.address or conn:ip(), problem);
	link.streamid = link.streamid or new_id.long();
	link:close(problem == "stanza-too-large" and "policy-violation" or "not-well-formed");
end

function listener.ondrain(conn)
	local link = links[conn];
	if link then link.unsent = 0; end
end

function listener.onreadtimeout()
	return true; -- see watch(), which is stricter
end

function listener.ondisconnect(conn, problem)
	local link = links[conn];
	if not link then return; end
	links[conn] = nil;
	if on_last_link_gone and not next(links) then on_last_link_gone(); end
	link.closing = true;
	if not link.manager then count_unauthed(link.ip, -1); end
	leave(link, problem);
end

-- Ends a connection at once, whatever waits on it.
function cut_link(link, problem)
	listener.ondisconnect(link.conn, problem);
	local cut = link.conn.destroy or link.conn.force_close or link.conn.close;
	cut(link.conn);
end

local function keepalive()
	return math.max(option("number", "keepalive", 30), min_keepalive);
end

-- One look at all links: a space to keep each alive, an end for those that are dead.
local function watch()
	local deadline = now() - option("number", "dead_after", 90);
	local found = {};
	for _, link in pairs(links) do
		if link.type == "connection_manager" then table.insert(found, link); end
	end
	for _, link in ipairs(found) do
		if link.seen < deadline then
			link.log("warn", "Nothing came from %s for too long", link.address);
			link:close("connection-timeout");
		else
			link.send(" ");
		end
	end
	return keepalive();
end

local push_scheduled = false;
local function schedule_push()
	if push_scheduled then return; end
	push_scheduled = true;
	-- Modules are loaded one after the other; one push is enough for all of them.
	timer.add_task(0.1, function ()
		push_scheduled = false;
		for _, link in pairs(links) do
			if link.type == "connection_manager" then push_configuration(link); end
		end
	end);
end

local function stop(reason)
	for _, manager in pairs(managers) do
		with_clients(manager, close_client, reason);
	end
	local found = {};
	for _, link in pairs(links) do table.insert(found, link); end
	for _, link in ipairs(found) do link:close(reason); end
end

module:hook("config-reloaded", schedule_push, -10);
module:hook("host-activated", schedule_push, -10);
module:hook("host-deactivated", function (host)
	for _, manager in pairs(managers) do
		with_clients(manager, function (client)
			if client.host == host then close_client(client, { condition = "host-gone" }); end
		end);
	end
	schedule_push();
end);

-- Ahead of mod_c2s, which would wait for our sessions.
module:hook("server-stopping", function (event)
	local reason = { condition = "system-shutdown", text = event.reason };
	if not next(links) or not async.ready() then return stop(reason); end
	-- In a turn of its own: a signal may have interrupted a write, which would then forget
	-- what is written meanwhile.  And what is written leaves only while the event loop runs.
	local wait, done = async.waiter(1, true);
	on_last_link_gone = done;
	timer.add_task(0, function () stop(reason); end);
	timer.add_task(stop_timeout, done);
	wait();
end, -90);

function module.add_host(module) -- luacheck: ignore 431/module
	module:hook("module-loaded", schedule_push);
	module:hook("module-unloaded", schedule_push);
	schedule_push();
end

local watch_timer = timer.add_task(keepalive(), watch);

function module.unload()
	timer.stop(watch_timer);
	stop({ condition = "system-shutdown", text = "mod_connection_manager is being unloaded" });
end

module:provides("net", {
	name = "connection_manager";
	private = true;
	listener = listener;
	default_port = 5262;
});

module:provides("net", {
	name = "connection_manager_direct_tls";
	private = true;
	listener = listener;
	encryption = "ssl";
});
