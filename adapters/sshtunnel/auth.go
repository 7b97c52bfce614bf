package sshtunnel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"l3extract/adapters/internal/hop"
)

// Check returns an error if the key, the known hosts or the rest of the configuration
// cannot be used.
func (d *Dialer) Check() error {
	_, err := d.config()
	return err
}

// config returns what x/crypto wants to know.
func (d *Dialer) config() (*ssh.ClientConfig, error) {
	c := &ssh.ClientConfig{User: d.User}
	if len(d.PrivateKey) > 0 {
		signer, err := d.signer()
		if err != nil {
			return nil, err
		}
		c.Auth = append(c.Auth, ssh.PublicKeys(signer))
	}
	if d.Password != "" {
		c.Auth = append(c.Auth, ssh.Password(d.Password), ssh.KeyboardInteractive(d.interactive))
	}
	switch {
	case d.User == "":
		return nil, errors.New("there is no user name")
	case len(c.Auth) == 0:
		return nil, errors.New("there is neither a password nor a key")
	}
	return c, d.hostKeys(c)
}

// interactive answers every question that is not shown with the password.
func (d *Dialer) interactive(_, _ string, questions []string, echos []bool) ([]string, error) {
	answers := make([]string, len(questions))
	for i := range questions {
		if !echos[i] {
			answers[i] = d.Password
		}
	}
	return answers, nil
}

func (d *Dialer) signer() (ssh.Signer, error) {
	var signer ssh.Signer
	var err error
	if d.Passphrase != "" {
		signer, err = ssh.ParsePrivateKeyWithPassphrase(d.PrivateKey, []byte(d.Passphrase))
	} else {
		signer, err = ssh.ParsePrivateKey(d.PrivateKey)
	}
	var missing *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &missing):
		return nil, errors.New("the private key is encrypted, and there is no passphrase")
	case err != nil && d.Passphrase != "":
		return nil, errors.New("the private key cannot be read; the passphrase may be wrong")
	case err != nil:
		return nil, errors.New("the private key cannot be read")
	}
	return signer, nil
}

// hostKeys sets how the server is recognized.
func (d *Dialer) hostKeys(c *ssh.ClientConfig) error {
	c.HostKeyAlgorithms = algorithms(slices.Clone(preferred))
	switch {
	case d.Insecure:
		c.HostKeyCallback = ssh.InsecureIgnoreHostKey()
		return nil
	case d.Fingerprint != "":
		if !strings.HasPrefix(d.Fingerprint, "SHA256:") {
			return errors.New(`the fingerprint is not one by SHA256, as "ssh-keygen -l" prints it`)
		}
		c.HostKeyCallback = func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if got := ssh.FingerprintSHA256(key); got != strings.TrimRight(d.Fingerprint, "=") {
				return &hostKeyError{fmt.Sprintf("its %s key has the fingerprint %s, which is not the one expected", key.Type(), got)}
			}
			return nil
		}
		return nil
	}
	files := d.KnownHosts
	if len(files) == 0 {
		home, err := os.UserHomeDir()
		if err != nil {
			return fmt.Errorf("known hosts: %w", err)
		}
		files = []string{filepath.Join(home, ".ssh", "known_hosts")}
	}
	check, err := knownhosts.New(files...)
	if err != nil {
		return fmt.Errorf("known hosts: %w", err)
	}
	host := d.Address
	if hop.IsPath(host) {
		host = "localhost:22"
	}
	// A server may have keys of several kinds, of which one is known: it shall show that.
	var asked *knownhosts.KeyError
	if errors.As(check(host, nowhere, noKey{}), &asked) && len(asked.Want) > 0 {
		var kinds []string
		for _, k := range asked.Want {
			kinds = append(kinds, k.Key.Type())
		}
		c.HostKeyAlgorithms = algorithms(kinds)
	}
	c.HostKeyCallback = func(_ string, _ net.Addr, key ssh.PublicKey) error {
		err := check(host, nowhere, key)
		var unknown *knownhosts.KeyError
		var revoked *knownhosts.RevokedError
		switch {
		case errors.As(err, &revoked):
			return &hostKeyError{"its host key is revoked"}
		case errors.As(err, &unknown) && len(unknown.Want) > 0:
			return &hostKeyError{"its host key is not the one that is known: somebody may be in between"}
		case errors.As(err, &unknown):
			return &hostKeyError{fmt.Sprintf("its host key is unknown; its %s key has the fingerprint %s", key.Type(), ssh.FingerprintSHA256(key))}
		}
		return err
	}
	return nil
}

// nowhere is the address that knownhosts wants and does not use, since there is a name.
var nowhere = &net.TCPAddr{IP: net.IPv4zero}

// noKey matches no known key.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.ErrUnsupported }

// preferred are the kinds of host keys in the order in which they are asked for.
var preferred = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSA}

// algorithms returns those of kinds of keys.
func algorithms(kinds []string) []string {
	var all []string
	for _, kind := range kinds {
		if kind == ssh.KeyAlgoRSA { // no SHA-1
			all = append(all, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		all = append(all, kind)
	}
	return all
}

// hostKeyError is a server that is not who it should be.
type hostKeyError struct{ why string }

func (e *hostKeyError) Error() string { return e.why }

// explain says in one line of our own why a login failed.
func explain(p *hop.Proxy, err error) error {
	var host *hostKeyError
	var auth *ssh.ServerAuthError
	switch {
	case errors.As(err, &host):
		return p.Denied(host.why)
	case errors.As(err, &auth), strings.Contains(err.Error(), "unable to authenticate"):
		return p.Denied("refuses the user name, the password or the key")
	case errors.Is(err, io.EOF):
		return errors.New("ended the connection instead of logging in")
	}
	var known *hop.Error
	if errors.As(err, &known) {
		return err
	}
	if inner := errors.Unwrap(err); inner != nil {
		err = inner
	}
	return hop.Cut(err)
}
