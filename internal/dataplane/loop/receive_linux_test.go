// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"testing"

	"golang.org/x/sys/unix"
)

// What the kernel may hold of a mirror's answer is bounded before the connection is up, and does not grow; production's
// sockets are the kernel's to size.
func TestKernelMemoryForACopysAnswerIsBounded(t *testing.T) {
	w := start(t, Config{}, nil)
	addr := serveEcho(t, w, Production)
	usual := 0
	for _, class := range []Class{Production, Copy} {
		p := newProbe()
		on(t, w, func() { p.c = w.Dial(addr, class, 0, p) })
		receive(t, p.connected, "the connection")
		on(t, w, func() {
			size := optionOf(t, w, p.c, unix.SOL_SOCKET, unix.SO_RCVBUF)
			if bounded := size == 2*copyReceive; bounded != (class == Copy) {
				t.Errorf("class %d: SO_RCVBUF is %d, the usual one %d", class, size, usual)
			}
			usual = size
			p.c.Close()
		})
	}
}
