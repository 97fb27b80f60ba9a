package embedded_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
)

func TestUsersAndVHosts(t *testing.T) {
	t.Parallel()
	b := amqptest.Start(t, embedded.Options{
		VHosts: []string{"shop", "a/b"},
		Users:  []embedded.User{{Name: "ann", Password: "a"}, {Name: "bob", Password: "b", VHosts: []string{"shop"}}, {Name: "nobody"}},
	})
	for _, c := range []struct{ user, vhost, fault string }{
		{"guest", "/", ""},
		{"ann", "a/b", ""},
		{"bob", "shop", ""},
		{"bob", "/", "access to vhost '/' refused for user 'bob'"},
		{"nobody", "/", "403"}, // without a password there is no way in
		{"eve", "/", "403"},
	} {
		conn, err := amqp091.Dial(b.URLFor(c.user, c.vhost))
		if err == nil {
			conn.Close()
		}
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s in %s: %v", c.user, c.vhost, err)
		}
	}
}

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	made := a.sign("authority", func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	})
	a.cert, a.key = made.Leaf, made.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// sign makes a certificate for a name; the authority's own signs itself.
func (a *authority) sign(name string, change func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(c)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func TestTLSAndExternal(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	verified := &tls.Config{Certificates: []tls.Certificate{ours.sign("broker", nil)}, ClientCAs: ours.pool(), ClientAuth: tls.VerifyClientCertIfGiven}
	anybody := &tls.Config{Certificates: verified.Certificates, ClientAuth: tls.RequestClientCert}
	external, plain := []amqp091.Authentication{&amqp091.ExternalAuth{}}, []amqp091.Authentication{&amqp091.PlainAuth{Username: "guest", Password: "guest"}}
	certificate := func(c tls.Certificate) []tls.Certificate { return []tls.Certificate{c} }
	for _, c := range []struct {
		name   string
		broker *tls.Config
		client []tls.Certificate
		sasl   []amqp091.Authentication
		fault  string
	}{
		{"password over TLS", verified, nil, plain, ""},
		{"certificate of a user", verified, certificate(ours.sign("ann", nil)), external, ""},
		{"certificate of a user, and a password", verified, certificate(ours.sign("ann", nil)), plain, ""},
		{"certificate of nobody", verified, certificate(ours.sign("eve", nil)), external, "403"},
		{"no certificate", verified, nil, external, "SASL could not negotiate"},
		{"another's certificate", verified, certificate(theirs.sign("ann", nil)), external, "tls: "},
		{"a certificate that nobody verifies", anybody, certificate(theirs.sign("ann", nil)), external, "SASL could not negotiate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := amqptest.Start(t, embedded.Options{TLS: c.broker, Users: []embedded.User{{Name: "ann"}}})
			client := &tls.Config{RootCAs: ours.pool(), Certificates: c.client}
			if c.fault == "tls: " { // which a client of AMQP may see as a connection that is closed
				if err := firstRead(t, b.Addr(), client); !strings.Contains(fmt.Sprint(err), c.fault) {
					t.Error(err)
				}
			}
			conn, err := amqp091.DialConfig(b.URL(), amqp091.Config{SASL: c.sasl, TLSClientConfig: client})
			if err == nil {
				_, err = conn.Channel()
				conn.Close()
			}
			if c.fault == "tls: " && err != nil {
				return
			}
			if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(fmt.Sprint(err), c.fault) {
				t.Error(err)
			}
		})
	}
}

// firstRead is what a TLS client that says nothing reads first.
func firstRead(t *testing.T, addr string, config *tls.Config) error {
	conn, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

func TestPlainClientOfATLSBroker(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	b := amqptest.Start(t, embedded.Options{TLS: &tls.Config{Certificates: []tls.Certificate{a.sign("broker", nil)}}})
	if conn, err := amqp091.Dial("amqp://guest:guest@" + b.Addr()); err == nil {
		conn.Close()
		t.Error("it was let in without TLS")
	}
}
