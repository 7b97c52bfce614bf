package config

import (
	"runtime"
	"time"
)

// Config is what the user says. Keys of the file are the names in the tags; each that
// stands for one value is a flag of the same name. The zero value of a field is its
// default unless Default says otherwise.
type Config struct {
	Device    string `yaml:"device,omitempty"`    // tun://NAME, fd://N or NAME
	MTU       int    `yaml:"mtu,omitempty"`       // 0: the interface's own
	Interface string `yaml:"interface,omitempty"` // by which flows leave; auto: the default route's
	Mark      Mark   `yaml:"fwmark,omitempty"`
	User      string `yaml:"user,omitempty"` // whom the program becomes after its set-up

	// Proxy is the outbound of flows that no rule says anything about: a URL, or the name
	// of one of Outbounds.
	Proxy     URL        `yaml:"proxy,omitempty"`
	Outbounds []Outbound `yaml:"outbounds,omitempty"`
	Rules     []Rule     `yaml:"rules,omitempty"`
	Sniff     []Ports    `yaml:"sniff,omitempty"` // where names are looked for in a flow's first bytes

	DNS    DNS    `yaml:"dns,omitempty"`
	Routes Routes `yaml:"routes,omitempty"`
	Limits Limits `yaml:"limits,omitempty"`
	Memory Size   `yaml:"memory,omitempty"` // of the engine's buffers

	DialTimeout   Duration `yaml:"dial-timeout,omitempty"`
	IdleTimeout   Duration `yaml:"idle-timeout,omitempty"`
	UDPTimeout    Duration `yaml:"udp-timeout,omitempty"`
	TCPReceive    Size     `yaml:"tcp-rcvbuf,omitempty"`
	TCPSend       Size     `yaml:"tcp-sndbuf,omitempty"`
	TCPAutoTuning *bool    `yaml:"tcp-auto-tuning,omitempty"` // nil, and true: buffers grow
	Drain         Duration `yaml:"drain"`
	Workers       int      `yaml:"workers,omitempty"`

	PreUp  string `yaml:"tun-pre-up,omitempty"`  // a command before the interface is opened
	PostUp string `yaml:"tun-post-up,omitempty"` // and one when it is there

	Control          URL    `yaml:"control,omitempty"` // unix://PATH or http://[TOKEN@]HOST:PORT
	ControlToken     Secret `yaml:"control-token,omitempty"`
	ControlTokenFile string `yaml:"control-token-file,omitempty"`
	ControlTokenEnv  string `yaml:"control-token-env,omitempty"`
	Pprof            bool   `yaml:"pprof,omitempty"`

	LogLevel Level  `yaml:"loglevel"`
	FlowLog  string `yaml:"flow-log,omitempty"` // a file with a line for each flow
	Capture  string `yaml:"capture,omitempty"`  // a pcap file of all packets

	// Words of tun2socks 2.6 for what has another name here, and one that has no meaning.
	RestAPI         URL    `yaml:"restapi,omitempty"`
	OldReceive      Size   `yaml:"tcp-receive-buffer-size,omitempty"`
	OldSend         Size   `yaml:"tcp-send-buffer-size,omitempty"`
	OldTuning       *bool  `yaml:"tcp-moderate-receive-buffer,omitempty"`
	MulticastGroups string `yaml:"multicast-groups,omitempty"`
}

// Outbound is a way out that has a name. Its URL says what it is; Failover makes it
// the first of several that works.
type Outbound struct {
	Name string `yaml:"name"`
	URL  URL    `yaml:"url,omitempty"`

	// Credentials that the URL does not hold.
	Username     string `yaml:"username,omitempty"`
	Password     Secret `yaml:"password,omitempty"`
	PasswordFile string `yaml:"password-file,omitempty"`
	PasswordEnv  string `yaml:"password-env,omitempty"`

	Failover      []string `yaml:"failover,omitempty"`       // names of outbounds, best first
	CheckAddress  string   `yaml:"check-address,omitempty"`  // host:port that a working one reaches
	CheckInterval Duration `yaml:"check-interval,omitempty"` // how often it is tried
}

// Rule names the outbound of the flows that fit all that it says.
type Rule struct {
	Network  string   `yaml:"network,omitempty"` // tcp, udp or icmp
	From     []Prefix `yaml:"from,omitempty"`    // clients
	To       []Prefix `yaml:"to,omitempty"`      // destinations
	Ports    []Ports  `yaml:"ports,omitempty"`
	Domain   []string `yaml:"domain,omitempty"` // example.com; *.example.com all below; .example.com both
	Outbound string   `yaml:"outbound"`         // a name; direct and reject need no definition
}

// DNS says who answers what clients ask on port 53. Without Servers it is served like
// any other port.
type DNS struct {
	Servers []URL     `yaml:"servers,omitempty"` // system://, udp://, tcp://, tls:// or https://
	Via     string    `yaml:"via,omitempty"`     // the outbound by which they are asked
	Rules   []DNSRule `yaml:"rules,omitempty"`
	Cache   int       `yaml:"cache,omitempty"` // answers kept; negative: none

	FakeIP     bool   `yaml:"fake-ip,omitempty"`
	FakeIP4    Prefix `yaml:"fake-ip4,omitempty"`
	FakeIP6    Prefix `yaml:"fake-ip6,omitempty"`
	FakeIPFile string `yaml:"fake-ip-file,omitempty"` // where the names are kept (0600)
}

// DNSRule has other servers for some names.
type DNSRule struct {
	Domain  []string `yaml:"domain"`
	Servers []URL    `yaml:"servers"`
	Via     string   `yaml:"via,omitempty"`
	FakeIP  *bool    `yaml:"fake-ip,omitempty"`
}

// Routes says how this host's traffic is led into the interface (Linux).
type Routes struct {
	Auto        bool     `yaml:"auto-route,omitempty"`
	Strict      bool     `yaml:"strict,omitempty"`
	Addresses   []Prefix `yaml:"addresses,omitempty"`
	Include     []Prefix `yaml:"include,omitempty"`
	Exclude     []Prefix `yaml:"exclude,omitempty"`
	IncludeUIDs []string `yaml:"include-uids,omitempty"`
	ExcludeUIDs []string `yaml:"exclude-uids,omitempty"`
	NoLAN       bool     `yaml:"no-lan,omitempty"`
	Inbound     bool     `yaml:"inbound,omitempty"`
	DNS         []Addr   `yaml:"dns,omitempty"` // resolvers that the host shall ask
	Table       int      `yaml:"table,omitempty"`
	Priority    int      `yaml:"priority,omitempty"`
	StateDir    string   `yaml:"state-dir,omitempty"`
}

// Limits are numbers of flows; 0 is the default, a negative one no limit.
type Limits struct {
	TCP                      int `yaml:"tcp,omitempty"`
	TCPPerSource             int `yaml:"tcp-per-source,omitempty"`
	UDP                      int `yaml:"udp,omitempty"`
	UDPPerSource             int `yaml:"udp-per-source,omitempty"`
	Handshakes               int `yaml:"handshakes,omitempty"`
	HandshakesPerSource      int `yaml:"handshakes-per-source,omitempty"`
	HandshakesPerDestination int `yaml:"handshakes-per-destination,omitempty"`
	Dials                    int `yaml:"dials,omitempty"`
	DialsPerSource           int `yaml:"dials-per-source,omitempty"`
	DialsPerDestination      int `yaml:"dials-per-destination,omitempty"`
}

// Default returns the configuration of a user who says nothing.
func Default() *Config {
	return &Config{Proxy: "direct://", Drain: Duration(10 * time.Second), Workers: 1, LogLevel: Level(0)}
}

// Invocation is a command line: the configuration, and what to do with it.
type Invocation struct {
	*Config
	File    string // -config
	Check   bool
	Version bool
	Status  bool
	Cleanup bool
	Queue   int // descriptor of the queue that this worker serves; 0: it is none

	set map[string]bool // the flags that were given
	doc *document       // what File holds; nil without one
}

// OnLinux tells whether what only Linux has can be asked for; a variable for tests.
var OnLinux = runtime.GOOS == "linux" || runtime.GOOS == "android"
