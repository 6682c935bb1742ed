// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// raw is a socket address as the kernel gives it.
func raw(addr netip.AddrPort) []byte {
	if addr.Addr().Is4() {
		b := make([]byte, unix.SizeofSockaddrInet4)
		binary.NativeEndian.PutUint16(b, unix.AF_INET)
		binary.BigEndian.PutUint16(b[2:], addr.Port())
		a := addr.Addr().As4()
		copy(b[4:], a[:])
		return b
	}
	b := make([]byte, unix.SizeofSockaddrInet6)
	binary.NativeEndian.PutUint16(b, unix.AF_INET6)
	binary.BigEndian.PutUint16(b[2:], addr.Port())
	a := addr.Addr().As16()
	copy(b[8:], a[:])
	return b
}

func TestRedirectedReadsWhatTheKernelSays(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort("[2001:db8::1]:443")
	local := netip.MustParseAddrPort("127.0.0.1:15001")
	for _, c := range []struct {
		raw         []byte
		local, want netip.AddrPort
	}{
		{raw(v4), local, v4},
		{raw(v6), netip.MustParseAddrPort("[::1]:15001"), v6},
		{raw(v4)[:unix.SizeofSockaddrInet4], v4, netip.AddrPort{}}, // it was coming here all along
		{raw(v6), v6, netip.AddrPort{}},
		{append(raw(v4), make([]byte, 12)...), local, v4},
		{raw(v6)[:20], local, netip.AddrPort{}},
		{raw(v4)[:8], local, netip.AddrPort{}},
		{nil, local, netip.AddrPort{}},
		{make([]byte, 28), local, netip.AddrPort{}},
	} {
		if got := redirected(c.raw, c.local); got != c.want {
			t.Errorf("%x at %v: %v, want %v", c.raw, c.local, got, c.want)
		}
	}
}

func TestAConnectionThatWasNotRedirectedHasNoOriginalDestination(t *testing.T) {
	for _, network := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", network)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		w := start(t, Config{}, nil)
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		fd := duplicate(t, far.(*net.TCPConn))
		far.Close()
		on(t, w, func() {
			c, err := w.Adopt(fd, Production, newProbe())
			if err != nil {
				t.Error(err)
				return
			}
			if got := c.OriginalDst(); got.IsValid() {
				t.Errorf("%v of a connection to %v", got, c.Local())
			}
			c.Close()
			if got := c.OriginalDst(); got.IsValid() {
				t.Errorf("%v when it is closed", got)
			}
		})
	}
}
