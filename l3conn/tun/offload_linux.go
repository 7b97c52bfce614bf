package tun

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"l3extract/l3conn"
)

// Sizes of the header that IFF_VNET_HDR puts in front of each packet, in bytes.
const (
	// minHeader is struct virtio_net_hdr, what a fresh interface has. Others
	// may have set a longer one (TUNSETVNETHDRSZ), of which the rest is zero.
	minHeader = 10
	// maxHeader is more than any kernel has fields for.
	maxHeader = 64
)

// offload is what an interface has beyond bare packets.
type offload struct {
	header   int             // bytes in front of each packet; 0: none
	features l3conn.Features // both ways; 0 without header
	shared   bool            // others may read from other queues
}

// tunFlags gives each feature its bits. A kernel takes USO only for both
// versions at once, and TSO_ECN only with one of the TSO.
var tunFlags = [...]struct {
	feature l3conn.Features
	flags   int
}{
	{l3conn.OffloadChecksum, unix.TUN_F_CSUM},
	{l3conn.OffloadTCP4, unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO_ECN},
	{l3conn.OffloadTCP6, unix.TUN_F_CSUM | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN},
	{l3conn.OffloadUDP, unix.TUN_F_CSUM | unix.TUN_F_USO4 | unix.TUN_F_USO6},
}

// setOffload says what the kernel may leave to whoever reads.
func setOffload(fd int, f l3conn.Features) error {
	flags := 0
	for _, t := range tunFlags {
		if f.Has(t.feature) {
			flags |= t.flags
		}
	}
	return os.NewSyscallError("ioctl TUNSETOFFLOAD", unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, flags))
}

// askOffload finds out what an interface with these flags can do and leaves its
// offload off, whatever its last user had.
func askOffload(fd int, flags uint16) (offload, error) {
	off := offload{shared: flags&unix.IFF_MULTI_QUEUE != 0}
	if flags&unix.IFF_VNET_HDR == 0 {
		_ = setOffload(fd, 0) // fails where there is nothing to switch off
		return off, nil
	}
	size, err := unix.IoctlGetUint32(fd, unix.TUNGETVNETHDRSZ)
	if err != nil {
		return off, os.NewSyscallError("ioctl TUNGETVNETHDRSZ", err)
	}
	if size < minHeader || size > maxHeader {
		return off, fmt.Errorf("its packets have a virtio-net header of %d bytes, which is not within %d and %d",
			size, minHeader, maxHeader)
	}
	off.header = int(size)
	for _, f := range [...]l3conn.Features{
		l3conn.OffloadAll,
		l3conn.OffloadAll &^ l3conn.OffloadUDP, // Linux before 6.2
	} {
		if setOffload(fd, f) == nil {
			off.features = f
			break
		}
	}
	_ = setOffload(fd, 0)
	return off, nil
}

// enable chooses what reads deliver.
func (d *device) enable(read l3conn.Features) error {
	if !d.features.Has(read) {
		return unix.EINVAL
	}
	var answer error
	err := d.raw.Control(func(fd uintptr) { answer = setOffload(int(fd), read) })
	if err == nil {
		err = answer
	}
	if err == nil {
		d.enabled.Store(uint32(read))
	}
	return err
}

// segments is the Offloader of a Device.
type segments struct{ d *Device }

func (s segments) Offload() (read, write l3conn.Features) {
	return s.d.dev.features, s.d.dev.features
}

func (s segments) EnableOffload(read l3conn.Features) error {
	return s.d.error("set", s.d.dev.enable(read))
}

func (s segments) SegmentBatch() int { return batchSize }

func (s segments) ReadSegments(segs []l3conn.Segment) (int, error) {
	if len(segs) == 0 {
		return 0, nil
	}
	n, err := s.d.dev.readSegments(segs[:min(len(segs), batchSize)])
	if n > 0 {
		return n, nil // an error comes again
	}
	return 0, s.d.error("read", err)
}

func (s segments) WriteSegments(segs []l3conn.Segment) (int, error) {
	n, err := s.d.dev.writeSegments(segs)
	return n, s.d.error("write", err)
}
