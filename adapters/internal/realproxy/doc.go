// Package realproxy runs, for tests, the proxies that people run: microsocks, Dante,
// tinyproxy, OpenSSH, shadowsocks-libev. They listen on the loopback interface. A test
// skips if a program is not installed; .ci/run installs them all.
package realproxy
