// Copyright the cmanager authors.
// See LICENSE for details.

// A client on mellium, in the manner of tests/acts/clients/player.py: it takes the orders
// connect, presence, message and close, and tells what it gets of messages.
//
// In TLS 1.3 mellium binds its logins to what it exports of the connection (tls-exporter),
// in TLS 1.2 to the end of the handshake (tls-unique).
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"

	"mellium.im/sasl"
	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
	"mellium.im/xmpp/stream"
)

// What the library knows, the best first.
var mechanisms = []sasl.Mechanism{
	sasl.ScramSha256Plus, sasl.ScramSha1Plus, sasl.ScramSha256, sasl.ScramSha1, sasl.Plain,
}

var versions = map[string]uint16{"": tls.VersionTLS13, "1.2": tls.VersionTLS12}

type order struct {
	Order     string
	JID       string
	Password  string
	Host      string
	Port      int
	DirectTLS bool
	Authority string
	Mechanism string
	Newest    string
	To        string
	Type      string
	Body      string
}

type body struct {
	stanza.Message
	Body string `xml:"body"`
}

type event map[string]any

func tell(name string, fields event) {
	if fields == nil {
		fields = event{}
	}
	fields["event"] = name
	line, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

type player struct {
	session *xmpp.Session
}

func (p *player) connect(o order) error {
	address, err := jid.Parse(o.JID)
	if err != nil {
		return err
	}
	trusted, err := os.ReadFile(o.Authority)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(trusted)
	security := &tls.Config{
		ServerName: address.Domain().String(),
		RootCAs:    pool,
		MaxVersion: versions[o.Newest],
	}
	known := mechanisms
	if o.Mechanism != "" {
		known = nil
		for _, mechanism := range mechanisms {
			if mechanism.Name == o.Mechanism {
				known = append(known, mechanism)
			}
		}
	}
	features := []xmpp.StreamFeature{
		xmpp.SASL("", o.Password, known...), xmpp.BindResource(),
	}
	connection, err := net.Dial("tcp", net.JoinHostPort(o.Host, strconv.Itoa(o.Port)))
	if err != nil {
		return err
	}
	if o.DirectTLS {
		connection = tls.Client(connection, security)
	} else {
		features = append(features, xmpp.StartTLS(security))
	}
	// The library asks for no resource, and expects its own address back as it was sent.
	session, err := xmpp.NewClientSession(
		context.Background(), address.Bare(), connection, features...,
	)
	if err != nil {
		connection.Close()
		refusal := condition(err)
		if refusal == "" {
			return err
		}
		tell("refused", event{"condition": refusal})
		tell("closed", event{"condition": nil})
		return nil
	}
	p.session = session
	go serve(session)
	tell("online", event{"jid": session.LocalAddr().String()})
	return nil
}

// The condition of a failed login; empty where it was something else that failed.
func condition(err error) string {
	failure, ok := err.(interface{ TokenReader() xml.TokenReader })
	if !ok {
		return ""
	}
	reader := failure.TokenReader()
	for depth := 0; ; {
		token, err := reader.Token()
		if start, ok := token.(xml.StartElement); ok {
			if depth++; depth == 2 {
				return start.Name.Local
			}
		}
		if err != nil {
			return ""
		}
	}
}

func serve(session *xmpp.Session) {
	err := session.Serve(xmpp.HandlerFunc(
		func(reader xmlstream.TokenReadEncoder, start *xml.StartElement) error {
			if start.Name.Local != "message" {
				return nil
			}
			message := body{}
			whole := xmlstream.MultiReader(xmlstream.Token(*start), reader)
			err := xml.NewTokenDecoder(whole).Decode(&message)
			if err != nil && err != io.EOF {
				return err
			}
			if message.Body != "" && message.Type != stanza.ErrorMessage {
				tell("message", event{"from": message.From.String(), "body": message.Body})
			}
			return nil
		},
	))
	session.Conn().Close()
	var failure stream.Error
	if errors.As(err, &failure) {
		tell("closed", event{"condition": failure.Err})
		return
	}
	tell("closed", event{"condition": nil})
}

func (p *player) obey(o order) error {
	ctx := context.Background()
	if o.Order == "connect" {
		return p.connect(o)
	}
	if p.session == nil {
		return errors.New("not connected")
	}
	to := jid.JID{}
	if o.To != "" {
		parsed, err := jid.Parse(o.To)
		if err != nil {
			return err
		}
		to = parsed
	}
	switch o.Order {
	case "presence":
		presence := stanza.Presence{To: to, Type: stanza.PresenceType(o.Type)}
		return p.session.Send(ctx, presence.Wrap(nil))
	case "message":
		head := stanza.Message{To: to, Type: stanza.ChatMessage}
		return p.session.Encode(ctx, body{Message: head, Body: o.Body})
	case "close":
		return p.session.Close()
	}
	return fmt.Errorf("unknown order %q", o.Order)
}

func main() {
	p := &player{}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		o := order{}
		err := json.Unmarshal(lines.Bytes(), &o)
		if err == nil {
			err = p.obey(o)
		}
		if err != nil {
			tell("broken", event{"text": err.Error()})
		}
	}
}
