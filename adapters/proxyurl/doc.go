// Package proxyurl makes outbounds of URLs, as programs take them from flags and files.
//
//	direct://                             no proxy: Base itself
//	reject://                             nothing gets out
//	socks5://[user:password@]host[:1080]  SOCKS5 with UDP ASSOCIATE; socks5h:// is the same
//	socks4://[user@]host[:1080]           SOCKS4; socks4a:// passes names on
//	http://[user:password@]host[:80]      CONNECT; https:// by TLS, port 443
//	ss://method:password@host:port        Shadowsocks; or method:password in base64
//	ssh://user[:password]@host[:22]       an SSH server that forwards
//	relay://[user:password@]host:port     gost's relay protocol
//
// A URL without a scheme is socks5. A path instead of host and port is a Unix socket,
// socks5:///run/proxy, and /@name is one of Linux's abstract namespace. Several URLs
// with spaces in between are a chain: the first is reached as Base says, each other
// through the one before. What is behind # is a comment.
//
// Letters and digits are themselves in user names and passwords, and anything else is
// safe as %XX. So that they stand in no list of processes they may come from
// elsewhere, by options in the query; a wrong one is an error, as is an unknown one:
//
//	user-file, user-env=           where there is a user, but for ss: the first line of a
//	                               file, or an environment variable
//	password-file, password-env=   the same for the password
//	timeout=10s                    all but direct, reject: bounds a dial; 0: only the caller does
//	udp=false                      socks5, ss, relay: carries no datagrams
//	pipeline=true                  socks5: the handshake in one piece; see socks5.Dialer
//	pool=16                        socks5: that many idle connections at most
//	pool-idle=20s                  socks5: for that long
//	announce=true                  socks5: say where datagrams will come from
//	answer=refused                 reject: or prohibited, or silence
//	sni=NAME                       https: the name in the certificate
//	ca-file=PATH                   https: certificates (PEM) to trust instead of the system's
//	insecure=true                  https, ssh: whoever answers is believed to be the proxy
//	key-file=PATH                  ssh: a private key
//	passphrase-file, passphrase-env=  ssh: what the key is encrypted with
//	known-hosts=PATH               ssh: instead of ~/.ssh/known_hosts
//	fingerprint=SHA256:...         ssh: of the host key, instead of known hosts
//	nodelay=true                   relay: for tun2socks' sake; we always wait for the answer
//
// Redact hides credentials in a URL. No error of this package or of what it makes
// holds a password.
package proxyurl
