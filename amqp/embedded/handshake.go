package embedded

import (
	"crypto/subtle"
	"crypto/tls"
	"encoding/binary"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// properties are what the broker tells clients about itself.
var properties = wire.Table{
	"product":   "eventrouter embedded broker",
	"version":   "4.0.5", // RabbitMQ's, whose behaviour it has: clients go by it
	"platform":  runtime.Version(),
	"copyright": "",
	"capabilities": wire.Table{
		"publisher_confirms": true, "exchange_exchange_bindings": true, "basic.nack": true, "consumer_cancel_notify": true,
		"connection.blocked": true, "consumer_priorities": true, "authentication_failure_close": true, "per_consumer_qos": true,
	},
}

// handshake brings the connection to where channels can be opened.
func (c *connection) handshake() error {
	begin, err := c.in.ReadHeader()
	if err != nil {
		return err
	}
	if begin != wire.ProtocolHeader {
		c.out.add(func(b []byte) []byte { return append(b, wire.ProtocolHeader...) })
		return handshakeErrorf("the client began with %q", begin)
	}
	mechanisms := "PLAIN AMQPLAIN"
	if c.certified() != "" {
		mechanisms += " EXTERNAL"
	}
	c.send(wire.ConnectionStart, func(b []byte) []byte {
		b = append(b, 0, 9)
		b = wire.AppendTable(b, properties)
		b = wire.AppendLongString(b, mechanisms)
		return wire.AppendLongString(b, "en_US")
	})
	if err := c.login(); err != nil {
		return err
	}
	c.send(wire.ConnectionTune, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint16(b, channelMax)
		b = binary.BigEndian.AppendUint32(b, frameMax)
		return binary.BigEndian.AppendUint16(b, uint16(heartbeat/time.Second))
	})
	if err := c.tune(); err != nil {
		return err
	}
	return c.open()
}

// expect reads the next method, which has to be m.
func (c *connection) expect(m wire.Method) (*wire.Decoder, error) {
	var f wire.Frame
	for {
		if err := c.in.Read(&f); err != nil {
			return nil, err
		}
		if f.Type == wire.FrameHeartbeat {
			continue
		}
		d := wire.NewDecoder(f.Payload)
		if got := wire.Method(d.Long()); f.Type != wire.FrameMethod || f.Channel != 0 || got != m || d.Err != nil {
			return nil, handshakeErrorf("the client sent something else than method %d of class %d", m.Number(), m.Class())
		}
		return d, nil
	}
}

func (c *connection) login() error {
	d, err := c.expect(wire.ConnectionStartOK)
	if err != nil {
		return err
	}
	client := d.Table()
	mechanism := d.ShortString()
	response := d.LongString()
	if d.Err != nil {
		return handshakeErrorf("%w", d.Err)
	}
	capabilities, _ := client["capabilities"].(wire.Table)
	c.cancelNotify, _ = capabilities["consumer_cancel_notify"].(bool)
	c.blockedNotify, _ = capabilities["connection.blocked"].(bool)
	told, _ := capabilities["authentication_failure_close"].(bool)
	if user, ok := c.authenticate(mechanism, response); ok {
		c.user = user
		return nil
	}
	fault := wire.Errorf(wire.AccessRefused, "Login was refused using authentication mechanism %s. For details see the broker logfile.", mechanism)
	if told {
		c.send(wire.ConnectionClose, func(b []byte) []byte { return appendClose(b, fault, 0) })
	}
	return handshakeErrorf("wrong user or password")
}

// authenticate finds the user that the client is, where it is one.
func (c *connection) authenticate(mechanism, response string) (user User, ok bool) {
	if mechanism == "EXTERNAL" {
		user, ok = c.broker.users[c.certified()]
		return user, ok
	}
	name, password := credentials(mechanism, response)
	user, ok = c.broker.users[name]
	// The comparison takes as long for a user who is not there.
	return user, subtle.ConstantTimeCompare([]byte(user.Password), []byte(password)) == 1 && ok && user.Password != ""
}

// certified is the common name in the client's certificate, where there is one that was verified.
func (c *connection) certified() string {
	conn, ok := c.net.(*tls.Conn)
	if !ok {
		return ""
	}
	chains := conn.ConnectionState().VerifiedChains
	if len(chains) == 0 {
		return ""
	}
	return chains[0][0].Subject.CommonName
}

// credentials reads what PLAIN or AMQPLAIN say.
func credentials(mechanism, response string) (user, password string) {
	switch mechanism {
	case "PLAIN":
		parts := strings.Split(response, "\x00")
		if len(parts) == 3 {
			return parts[1], parts[2]
		}
	case "AMQPLAIN":
		table := append(binary.BigEndian.AppendUint32(nil, uint32(len(response))), response...)
		t := wire.NewDecoder(table).Table()
		user, _ = t["LOGIN"].(string)
		password, _ = t["PASSWORD"].(string)
	}
	return user, password
}

func (c *connection) tune() error {
	d, err := c.expect(wire.ConnectionTuneOK)
	if err != nil {
		return err
	}
	channels := int(d.Short())
	size := int(d.Long())
	beat := time.Duration(d.Short()) * time.Second
	if d.Err != nil {
		return handshakeErrorf("%w", d.Err)
	}
	switch { // with 0 a client would set no limit, which is more than was offered
	case channels == 0 || channels > channelMax:
		return handshakeErrorf("negotiated channel_max = %d is higher than the maximum allowed value (%d)", channels, channelMax)
	case size == 0 || size > frameMax:
		return handshakeErrorf("negotiated frame_max = %d is higher than the maximum allowed value (%d)", size, frameMax)
	case size < wire.MinFrameMax:
		return handshakeErrorf("negotiated frame_max = %d is lower than the minimum allowed value (%d)", size, wire.MinFrameMax)
	}
	c.channelMax, c.frameMax = channels, size
	c.in.SetMax(c.frameMax)
	if beat > 0 {
		c.silence = beat * 2
		c.out.mu.Lock()
		c.out.heartbeat = beat
		c.out.mu.Unlock()
		c.out.signal()
	}
	return nil
}

func (c *connection) open() error {
	d, err := c.expect(wire.ConnectionOpen)
	if err != nil {
		return err
	}
	name := d.ShortString()
	if d.Err != nil {
		return handshakeErrorf("%w", d.Err)
	}
	v := c.broker.vhosts[name]
	if v == nil {
		fault := wire.Errorf(wire.NotAllowed, "vhost %s not found", name)
		c.send(wire.ConnectionClose, func(b []byte) []byte { return appendClose(b, fault, wire.ConnectionOpen) })
		return handshakeErrorf("%w", fault)
	}
	if c.user.VHosts != nil && !slices.Contains(c.user.VHosts, name) {
		fault := wire.Errorf(wire.NotAllowed, "access to vhost '%s' refused for user '%s'", name, c.user.Name)
		c.send(wire.ConnectionClose, func(b []byte) []byte { return appendClose(b, fault, wire.ConnectionOpen) })
		return handshakeErrorf("%w", fault)
	}
	c.vhost = v
	c.send(wire.ConnectionOpenOK, func(b []byte) []byte { return wire.AppendShortString(b, "") })
	return nil
}
