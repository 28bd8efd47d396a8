-- Prosody behind a connection manager: the server's half of the pair.  The manager's half
-- is cmanager-prosody.toml beside this file.
--
-- Clients connect to the manager, which listens on 5222 and 5223; Prosody listens for the
-- manager's links on the loopback only, and for other servers as ever.

plugin_paths = { "/usr/local/lib/prosody/modules" } -- holds the folder mod_connection_manager

modules_enabled = {
	-- Needed by nearly everybody
	"roster"; "saslauth"; "disco"; "private"; "blocklist"; "vcard4"; "vcard_legacy";
	"pep"; "carbons"; "mam"; "offline"; "ping"; "time"; "version"; "limits"; "posix";
	-- TLS for connections from other servers
	"tls"; "dialback"; "s2s";
	-- To look after it: prosodyctl shell
	"admin_shell";
	-- Links from connection managers
	"connection_manager";
}

-- No clients come in without the manager.
c2s_ports = {}

-- Where the manager comes in.  For a manager on another machine: an interface of the
-- private network here, and connection_manager_starttls = "required".
connection_manager_interfaces = { "127.0.0.1" }
connection_manager_ports = { 5262 }

-- Name and secret as in the manager's configuration.  Make one: openssl rand -hex 32
connection_manager_secrets = {
	["cm-7f3k2q"] = "put-a-long-random-secret-here";
}

-- How long sessions survive the loss of all links, in seconds.
connection_manager_grace = 15

-- The manager keeps its clients' streams encrypted: passwords may be sent.
c2s_require_encryption = true

authentication = "internal_hashed"
password_hash = "SHA-256"
storage = "internal"
data_path = "/var/lib/prosody"
certificates = "certs"
pidfile = "/run/prosody/prosody.pid"
log = { info = "*syslog" }

VirtualHost "example.org"

Component "rooms.example.org" "muc"
	modules_enabled = { "muc_mam" }
