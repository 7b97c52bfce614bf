package main

import (
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"l3extract/examples/internal/netnstest"
)

var (
	kernelDeb = flag.String("vmnet.kernel", "", "Debian package of a cloud kernel for TestQemu (default: the newest in apt's cache)")
	accel     = flag.String("vmnet.accel", "tcg", "accelerator of qemu for TestQemu; kvm hangs on some hosts that have it")
)

// boot bounds the life of a guest: emulated on a busy machine it takes a minute.
const boot = 4 * time.Minute

// modules are what the guest needs to have a network card, in the order of their
// dependencies.
var modules = []string{
	"virtio/virtio_ring", "virtio/virtio", "virtio/virtio_pci_legacy_dev", "virtio/virtio_pci_modern_dev", "virtio/virtio_pci",
	"core/failover", "net/net_failover", "net/virtio_net",
}

// guestInit is all that the guest does.
const guestInit = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
for m in $(cat /modules); do insmod /$m.ko; done
ip link set lo up
ip link set eth0 up
udhcpc -f -q -n -t 20 -T 1 -i eth0 -x hostname:qemuguest -s /script && echo "guest: lease $(ip -4 -o addr show dev eth0 | awk '{print $4}')"
ping -c 1 -w 10 192.168.127.1 > /dev/null && echo "guest: ping of the gateway"
# The C library of a static program finds no names: nslookup asks by itself.
a=$(nslookup -type=a www.test 192.168.127.1 | awk '/^Name/ { found = 1 } found && /^Address/ { print $2 }')
echo "guest: name $a"
echo "guest: v4 $(timeout 20 wget -q -O - http://$a/)"
n=0
until ip -6 addr show dev eth0 scope global | grep -v tentative | grep -q inet6 || [ $n = 60 ]; do n=$((n+1)); sleep 0.5; done
echo "guest: v6 $(timeout 20 wget -q -O - http://[2001:db8::80]/)"
echo "guest: done"
poweroff -f
`

// TestQemu boots Linux in qemu behind each kind of its sockets; it gets an address,
// resolves a name, fetches pages over IPv4 and IPv6 and powers off.
func TestQemu(t *testing.T) {
	netnstest.NeedRoot(t, "ip", "unshare", "dpkg-deb", "qemu-system-x86_64", "busybox")
	if runtime.GOARCH != "amd64" {
		t.Skip("the kernel is one for amd64")
	}
	kernel, initrd := guestImage(t)
	dir := t.TempDir()
	ours, theirs := filepath.Join(dir, "vmnet"), filepath.Join(dir, "qemu")
	for _, c := range []struct {
		name, netdev string
		args         []string
	}{
		{"stream", "stream,id=n0,server=off,addr.type=unix,addr.path=" + ours, []string{"-listen", "unix://" + ours}},
		{"dgram", "dgram,id=n0,local.type=unix,local.path=" + theirs + ",remote.type=unix,remote.path=" + ours,
			[]string{"-listen", "unixgram://" + ours, "-peer", theirs}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, append(c.args, "-drain", "1s")...)
			began := time.Now()
			qemu := exec.Command("qemu-system-x86_64", "-accel", *accel, "-m", "256", "-nodefaults", "-no-user-config",
				"-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", kernel, "-initrd", initrd,
				"-append", "console=ttyS0 quiet panic=-1 mitigations=off rdinit=/init",
				"-netdev", c.netdev, "-device", "virtio-net-pci,netdev=n0,romfile=")
			stdout, err := qemu.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			qemu.Stderr = qemu.Stdout
			w.Start(t, qemu)
			said := netnstest.Follow(stdout)
			select {
			case <-said.Ended():
			case <-time.After(boot):
				t.Fatalf("the guest is not done after %v:\n%s\nvmnet:\n%s", boot, said, w.log)
			}
			if err := qemu.Wait(); err != nil {
				t.Fatalf("qemu: %v\n%s\nvmnet:\n%s", err, said, w.log)
			}
			out := said.String()
			t.Logf("after %v:\n%s", time.Since(began).Round(100*time.Millisecond), out)
			lease := fields(w.log.Await(t, "msg=lease", "host=qemuguest"), "addr")[0]
			for _, want := range []string{
				"guest: lease " + strings.TrimPrefix(lease, "addr=") + "/24", "guest: ping of the gateway",
				"guest: name " + srv4, "guest: v4 " + strings.TrimSpace(page), "guest: v6 " + strings.TrimSpace(page), "guest: done",
			} {
				if !strings.Contains(out, want) {
					t.Errorf("the guest did not say %q", want)
				}
			}
			if c.name == "stream" { // its end is seen
				w.log.Await(t, "msg=ended")
			}
			w.end(t)
			w.log.Await(t, "msg=summary", "segments=1", "leases=1", "streams=2")
		})
	}
}

// guestImage unpacks a kernel and makes the guest's file system.
func guestImage(t *testing.T) (kernel, initrd string) {
	t.Helper()
	deb := *kernelDeb
	if deb == "" {
		found, _ := filepath.Glob("/var/cache/apt/archives/linux-image-[0-9]*-cloud-amd64_*.deb")
		if len(found) == 0 {
			t.Skip("needs a kernel: apt-get install --download-only linux-image-cloud-amd64")
		}
		deb = slices.Max(found)
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "dpkg-deb", "-x", deb, dir).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, out)
	}
	kernel = one(t, dir+"/boot/vmlinuz-*")
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	files := []archived{
		{"bin", 0o40755, nil}, {"proc", 0o40755, nil}, {"sys", 0o40755, nil}, {"dev", 0o40755, nil}, {"etc", 0o40755, nil},
		{"bin/busybox", 0o100755, read(t, busybox)},
		{"init", 0o100755, []byte(guestInit)},
		{"script", 0o100755, []byte(strings.NewReplacer("#!/bin/sh", "#!/bin/busybox sh", `"$RESOLV"`, "/etc/resolv.conf").Replace(leaseScript))},
	}
	var names []string
	for _, m := range modules {
		name := filepath.Base(m)
		names = append(names, name)
		files = append(files, archived{name + ".ko", 0o100644, read(t, one(t, dir+"/lib/modules/*/kernel/*/"+m+".ko"))})
	}
	files = append(files, archived{"modules", 0o100644, []byte(strings.Join(names, " "))})
	initrd = filepath.Join(dir, "initrd")
	var image bytes.Buffer
	z, _ := gzip.NewWriterLevel(&image, gzip.BestSpeed)
	cpio(z, files)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(initrd, image.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return kernel, initrd
}

// one is the only file that matches.
func one(t *testing.T, pattern string) string {
	t.Helper()
	found, _ := filepath.Glob(pattern)
	if len(found) != 1 {
		t.Fatalf("%s: %d files, want one", pattern, len(found))
	}
	return found[0]
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// archived is a file in an archive.
type archived struct {
	name string
	mode int
	data []byte
}

// cpio writes an archive in the format that Linux unpacks at its start ("newc").
func cpio(w io.Writer, files []archived) {
	pad := func(n int) string { return "\x00\x00\x00"[:-n&3] }
	for i, f := range append(files, archived{name: "TRAILER!!!"}) {
		head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
			i+1, f.mode, 0, 0, 1, 0, len(f.data), 0, 0, 0, 0, len(f.name)+1, 0, f.name)
		fmt.Fprintf(w, "%s%s%s%s", head, pad(len(head)), f.data, pad(len(f.data)))
	}
}
