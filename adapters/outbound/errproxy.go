package outbound

import "errors"

// ErrProxy is found by errors.Is in an error of a Dialer or PacketListener that is
// the proxy's fault or that of the way to it, and says nothing of the destination:
// it cannot be reached, refuses the credentials, talks nonsense. Another proxy may
// do better. An error without it is the destination's, as the proxy reports it.
var ErrProxy = errors.New("the proxy is at fault")
