package amqp_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/amqp/embedded"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/router"
)

// authority signs certificates, and keeps them as files.
type authority struct {
	t      *testing.T
	folder string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, folder: t.TempDir()}
	a.cert, a.key = a.sign("authority", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// sign makes NAME.pem and NAME.key in the folder.
func (a *authority) sign(name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.serial++
	c.SerialNumber, c.Subject = big.NewInt(a.serial), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{a.file(name + ".pem"): {Type: "CERTIFICATE", Bytes: der}, a.file(name + ".key"): {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return out, key
}

func (a *authority) file(name string) string { return filepath.Join(a.folder, name) }

func TestAmqpsTrustsWhomItIsToldTo(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	ours.sign("broker", &x509.Certificate{DNSNames: []string{"rabbit.internal"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	for _, name := range []string{"shop", "stranger"} {
		ours.sign(name, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	}
	theirs.sign("shop", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	pair, err := tls.LoadX509KeyPair(ours.file("broker.pem"), ours.file("broker.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ours.cert)
	server := amqptest.Start(t, embedded.Options{
		Users: []embedded.User{{Name: "shop"}},
		TLS:   &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert},
	})
	u, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.Scheme = "amqps"
	withUser := u.String()
	u.User = nil // by the certificate, then
	plain := u.String()

	right := amqp.TLSOptions{CAFile: ours.file("authority.pem"), CertFile: ours.file("shop.pem"), KeyFile: ours.file("shop.key"), ServerName: "rabbit.internal"}
	with := func(change func(*amqp.TLSOptions)) amqp.TLSOptions {
		o := right
		change(&o)
		return o
	}
	for name, tt := range map[string]struct {
		url     string
		options amqp.TLSOptions
		want    string // of the error; empty: it connects
	}{
		"by certificate":             {plain, right, ""},
		"by password":                {withUser, right, ""},
		"another authority":          {plain, with(func(o *amqp.TLSOptions) { o.CAFile = theirs.file("authority.pem") }), "certificate signed by unknown authority"},
		"the system's authorities":   {plain, with(func(o *amqp.TLSOptions) { o.CAFile = "" }), "certificate"},
		"another server name":        {plain, with(func(o *amqp.TLSOptions) { o.ServerName = "other.internal" }), "other.internal"},
		"the URL's host as name":     {plain, with(func(o *amqp.TLSOptions) { o.ServerName = "" }), "127.0.0.1"},
		"no certificate of ours":     {withUser, with(func(o *amqp.TLSOptions) { o.CertFile, o.KeyFile = "", "" }), "certificate required"},
		"a certificate of others":    {plain, with(func(o *amqp.TLSOptions) { o.CertFile, o.KeyFile = theirs.file("shop.pem"), theirs.file("shop.key") }), "certificate"},
		"a certificate of a nobody":  {plain, with(func(o *amqp.TLSOptions) { o.CertFile, o.KeyFile = ours.file("stranger.pem"), ours.file("stranger.key") }), "refused"},
		"amqp where amqps is spoken": {strings.Replace(withUser, "amqps:", "amqp:", 1), right, "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lost := make(chan error, 100)
			b := start(t, tt.url, amqp.Options{TLS: tt.options, Hooks: disconnected(lost)})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			if tt.want == "" {
				if err := b.Connect(ctx); err != nil {
					t.Fatal(err)
				}
				if err := b.Declare(ctx, topology); err != nil {
					t.Fatal(err)
				}
				if err := send(ctx, b, message("1")); err != nil {
					t.Error(err)
				}
				return
			}
			if err := <-lost; !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v does not say %q", err, tt.want)
			}
		})
	}
}

func TestCertificatesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for want, o := range map[string]amqp.TLSOptions{
		"certificate authority: open":                                 {CAFile: a.file("none.pem")},
		"certificate authority: no certificate in PEM in":             {CAFile: a.file("authority.key")},
		"client certificate: open":                                    {CertFile: a.file("none.pem"), KeyFile: a.file("authority.key")},
		"client certificate: tls: failed to find any PEM data in key": {CertFile: a.file("authority.pem"), KeyFile: os.DevNull},
	} {
		if _, err := amqp.New("amqps://rabbit", amqp.Options{TLS: o}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// disconnected tells why a connection was not made, or was lost.
func disconnected(lost chan error) router.Hooks {
	return router.Hooks{Disconnected: func(_ string, err error) {
		select {
		case lost <- err:
		default:
		}
	}}
}
