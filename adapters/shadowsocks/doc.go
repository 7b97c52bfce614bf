// Package shadowsocks is an outbound through a Shadowsocks server: connections and
// datagrams, by the AEAD methods of SIP004 (chacha20-ietf-poly1305, aes-256-gcm,
// aes-192-gcm, aes-128-gcm). Those of SIP022 ("2022-...") and plugins are not done.
//
// The protocol has no answer: a server does not say whether it reached a destination,
// nor even whether it understood. So DialContext returns as soon as the server itself
// is reached, and what becomes of the destination shows in the first Read: a wrong
// password and a refused connection look alike, the end of the connection.
//
// The ciphers are those of Jigsaw-Code/outline-sdk.
package shadowsocks
