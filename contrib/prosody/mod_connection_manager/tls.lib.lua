-- mod_connection_manager: what is known of the TLS between a client and its manager.
--
-- Copyright the cmanager authors.  See LICENSE for details.
--
-- A session expects a connection it can ask about encryption, in two dialects:
-- conn:socket() answers as a LuaSec socket does (Prosody 0.12), the methods
-- conn:ssl_*() as the connections of Prosody 13 do.  Here are both, answered from
-- the <tls/> that the manager sent.

local base64 = require "util.encodings".base64;
local hashes = require "util.hashes";
local jid_split = require "util.jid".prepped_split;
local st = require "util.stanza";
local have_ssl, ssl = pcall(require, "ssl");

local xmlns_tls = "urn:cmanager:tls:0";

-- The most that is accepted of one piece of binding data: the longest known is a SHA-512.
local max_binding_bytes = 1024;

local oid_subject_alternative_name = "2.5.29.17";
local oid_xmpp_address = "1.3.6.1.5.5.7.8.5";

-- What a SASL profile may be bound to, in the order in which it is announced.
local binding_types = { "tls-exporter", "tls-server-end-point", "tls-unique" };
local is_binding_type = { ["tls-exporter"] = true, ["tls-server-end-point"] = true, ["tls-unique"] = true };

-- The bytes of an element in base64.  Prosody's decoder lets pass what has no end, or too many.
local function decode(element)
	local text = (element:get_text() or ""):gsub("%s+", "");
	if #text % 4 ~= 0 or not text:match("^[%w+/]*=?=?$") then return nil; end
	return base64.decode(text);
end

local function load_certificate(der)
	if not (have_ssl and ssl.loadcertificate) then return nil; end
	local text, lines = base64.encode(der), { "-----BEGIN CERTIFICATE-----" };
	for at = 1, #text, 64 do table.insert(lines, text:sub(at, at + 63)); end
	table.insert(lines, "-----END CERTIFICATE-----\n");
	local ok, certificate = pcall(ssl.loadcertificate, table.concat(lines, "\n"));
	return ok and certificate or nil;
end

-- Reads <certificate/>; returns what it says or nil and what is wrong with it.
local function parse_certificate(element)
	local found = {
		fingerprint = element.attr.fingerprint;
		verified = element.attr.verified == "true";
		problem = element.attr.problem;
	};
	local der = decode(element);
	if not der then return nil, "a certificate that is not base64"; end
	if der ~= "" then
		local fingerprint = hashes.sha256(der, true);
		if found.fingerprint and found.fingerprint ~= fingerprint then
			return nil, "a certificate that has another fingerprint";
		end
		found.fingerprint = fingerprint;
		found.x509 = load_certificate(der);
		if not found.x509 then return nil, "a certificate that cannot be read"; end
	end
	if not found.fingerprint then return nil, "a certificate without its fingerprint"; end
	if #found.fingerprint ~= 64 or found.fingerprint:match("[^0-9a-f]") then
		return nil, "a fingerprint that is not one of SHA-256";
	end
	return found;
end

-- Reads <tls xmlns='urn:cmanager:tls:0'/>; returns a table or nil and what is wrong.
local function parse(element)
	local found = {
		version = element.attr.version;
		cipher = element.attr.cipher;
		sni = element.attr.sni;
		alpn = element.attr.alpn;
		bindings = {};
	};
	for child in element:childtags("channel-binding") do
		local kind = child.attr.type;
		-- Types of the future are passed over: nobody here could ask for them.
		if is_binding_type[kind] then
			local data = decode(child);
			if not data or data == "" or #data > max_binding_bytes then return nil, "channel binding data that is not base64"; end
			if found.bindings[kind] then return nil, "channel binding data of one type twice"; end
			found.bindings[kind] = data;
		end
	end
	for certificate in element:childtags("certificate") do
		if found.certificate then return nil, "two certificates"; end
		local problem;
		found.certificate, problem = parse_certificate(certificate);
		if not found.certificate then return nil, problem; end
	end
	return found;
end

-- The socket of Prosody 0.12.
local function new_socket(tls)
	local socket = {};
	if not tls then return socket; end
	function socket.info(_, field)
		local info = { protocol = tls.version, cipher = tls.cipher, compression = nil };
		if field then return info[field]; end
		return info;
	end
	function socket.getsniname() return tls.sni; end
	function socket.getalpn() return tls.alpn; end
	function socket.getpeercertificate() return tls.certificate and tls.certificate.x509 or nil; end
	function socket.getpeerchain() return { tls.certificate and tls.certificate.x509 }; end
	function socket.getpeerverification()
		local certificate = tls.certificate;
		if certificate and certificate.verified then return true; end
		return false, { { certificate and certificate.problem or "no certificate" } };
	end
	if tls.bindings["tls-unique"] then
		-- The first Finished of a full handshake is the client's, the peer's.
		function socket.getpeerfinished() return tls.bindings["tls-unique"]; end
	end
	if tls.bindings["tls-exporter"] then
		function socket.exportkeyingmaterial(_, label, length, context)
			if label == "EXPORTER-Channel-Binding" and length == 32 and (context == nil or context == "") then
				return tls.bindings["tls-exporter"];
			end
			return nil, "not supplied by the connection manager";
		end
	end
	return socket;
end

-- The connection of a client that is behind a manager: a leg of a journey.
-- on_write(data) sends, on_close() ends the session.
local leg = {};
leg.__index = leg;

local function new_leg(address, link_conn, on_write, on_close)
	return setmetatable({ _address = address, _link = link_conn, _socket = new_socket(), on_write = on_write, on_close = on_close }, leg);
end

function leg:encrypt(tls)
	self._tls, self._socket = tls, new_socket(tls);
	-- Prosody asks whether these exist before it asks them.
	self.ssl_peerfinished = tls.bindings["tls-unique"] and function () return tls.bindings["tls-unique"]; end or nil;
	self.ssl_exportkeyingmaterial = self._socket.exportkeyingmaterial;
end
function leg:write(data) return self.on_write(data); end
function leg:close() return self.on_close(); end
function leg:ip() return self._address; end
function leg:socket() return self._socket; end
function leg:ssl() return self._tls ~= nil; end
function leg:ssl_info() return self._tls and self._socket:info() or nil; end
function leg:ssl_peercertificate() return self._tls and self._socket:getpeercertificate(); end
function leg:ssl_peerchain() return self._tls and self._socket:getpeerchain(); end
function leg:ssl_peerverification()
	if not self._tls then return nil, { { "no encryption" } }; end
	return self._socket:getpeerverification();
end
function leg:port() return self:serverport(); end
-- The manager does not tell the client's port.
function leg.clientport() return 0; end
function leg:serverport() return self._link and self._link:serverport(); end
function leg:server() return self._link and self._link:server(); end
-- One client cannot be read slower than the others of its link, nor has it a socket to
-- tune.  Rates are the manager's business: what was held back here would pile up.
function leg.pause() return nil, "not-implemented"; end
function leg.resume() return true; end
function leg.setoption() return true; end
function leg.setlimit() return true; end

-- The addresses (XEP-0178) in a verified certificate that belong to host, as user names.
local function certificate_users(tls, host)
	local users = {};
	local certificate = tls and tls.certificate;
	if not (certificate and certificate.verified and certificate.x509) then return users; end
	local names = certificate.x509:extensions()[oid_subject_alternative_name];
	for _, address in ipairs(names and names[oid_xmpp_address] or {}) do
		local user, domain = jid_split(address);
		if user and domain == host then table.insert(users, user); end
	end
	return users;
end

-- SASL EXTERNAL by certificate; the answer is that of a profile's "external" backend.
local function external_backend(tls, host, user_exists)
	return function (authzid)
		local users = certificate_users(tls, host);
		local wanted, domain;
		if authzid and authzid ~= "" then
			wanted, domain = jid_split(authzid);
			if domain ~= host then return nil; end
		elseif #users == 1 then
			wanted = users[1]; -- with several to choose from the client has to say which
		end
		for _, user in ipairs(users) do
			if user == wanted and user_exists(user, host) then return user, true; end
		end
		return nil;
	end
end

-- Ties a SASL exchange to the client's TLS.
-- The profile is copied: providers may share one between all their sessions, and the
-- data must outlive clean_clone(), which drops a handler's "userdata".
local function bind_sasl(handler, tls, with_plus, external)
	local profile = handler.profile;
	if type(profile) ~= "table" or type(handler.mechs) ~= "table" then return handler; end
	local bound, mechanisms = {}, {};
	for name, value in pairs(profile) do bound[name] = value; end
	for name, value in pairs(handler.mechs) do mechanisms[name] = value; end
	bound.cb = nil;
	if with_plus then
		for name, data in pairs(tls.bindings) do
			bound.cb = bound.cb or {};
			bound.cb[name] = function () return data; end
		end
	end
	if external and not bound.external then
		bound.external = external;
		mechanisms.EXTERNAL = true;
	end
	bound.mechanisms = mechanisms;
	handler.profile, handler.mechs = bound, mechanisms;
	return handler;
end

-- The announcement for <configuration/>.
local function announcement(mechanisms)
	local element = st.stanza("tls", { xmlns = xmlns_tls });
	for _, name in ipairs(mechanisms) do element:text_tag("mechanism", name); end
	for _, name in ipairs(binding_types) do element:tag("channel-binding", { type = name }):up(); end
	return element;
end

return {
	xmlns = xmlns_tls;
	parse = parse;
	new_leg = new_leg;
	certificate_users = certificate_users;
	external_backend = external_backend;
	bind_sasl = bind_sasl;
	announcement = announcement;
};
