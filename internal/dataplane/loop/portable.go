// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// portable is a driver of the net package: two goroutines for each connection read and write, and tell the worker what
// became ready. A connection holds up to ringSize bytes each way here, besides what the kernel holds. What differs from
// epoll: while a connection's ring is full of bytes that its owner does not want, its peer's FIN or RST is not seen.
type portable struct {
	epoch time.Time
	awake chan struct{} // holds one: something is due
	timer *time.Timer
	told  []event
	socks []*netSock // by what a socket is called; nil: free
	free  []int
	group sync.WaitGroup // of all goroutines

	mu   sync.Mutex
	due  []*netSock            // guarded by mu: have something to tell
	open map[*netSock]struct{} // guarded by mu: not closed yet, or on the way to that
}

// closeTime is how long what was sent before the worker ended may take to reach the kernel.
const closeTime = time.Second

func newPortable(epoch time.Time) *portable {
	p := &portable{epoch: epoch, awake: make(chan struct{}, 1), open: map[*netSock]struct{}{}}
	p.timer = time.NewTimer(math.MaxInt64)
	p.timer.Stop()
	return p
}

func (p *portable) wake() {
	select {
	case p.awake <- struct{}{}:
	default:
	}
}

func (p *portable) wait(block bool, until int64) ([]event, error) {
	if block {
		var expired <-chan time.Time
		if until != math.MaxInt64 {
			p.timer.Reset(time.Until(p.epoch.Add(time.Duration(until))))
			expired = p.timer.C
		}
		select {
		case <-p.awake:
		case <-expired:
		}
		p.timer.Stop()
	}
	p.told = p.told[:0]
	p.mu.Lock()
	n := min(len(p.due), maxTold)
	for i, s := range p.due[:n] {
		p.told = append(p.told, event{key: s.key, bits: s.bits})
		s.bits = 0
		p.due[i] = nil
	}
	rest := copy(p.due, p.due[n:])
	clear(p.due[rest:])
	p.due = keep(p.due)[:rest]
	p.mu.Unlock()
	if rest > 0 {
		p.wake()
	}
	return p.told, nil
}

// maxTold is the most events of a turn.
const maxTold = 256

// tell has the worker hear of a socket.
func (p *portable) tell(s *netSock, bits readiness) {
	p.mu.Lock()
	if s.bits == 0 {
		p.due = append(p.due, s)
	}
	s.bits |= bits
	p.mu.Unlock()
	p.wake()
}

// add gives a socket what it is called.
func (p *portable) add(s *netSock) int {
	s.p = p
	s.room.L, s.work.L = &s.mu, &s.mu
	p.mu.Lock()
	p.open[s] = struct{}{}
	p.mu.Unlock()
	if n := len(p.free); n > 0 {
		at := p.free[n-1]
		p.free = p.free[:n-1]
		p.socks[at] = s
		return at
	}
	p.socks = append(p.socks, s)
	return len(p.socks) - 1
}

func (p *portable) adopt(fd int) (int, error) {
	f := os.NewFile(uintptr(fd), "connection")
	if f == nil {
		return -1, fmt.Errorf("adopt descriptor %d: %w", fd, os.ErrInvalid)
	}
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return -1, err
	}
	return p.add(&netSock{conn: conn}), nil
}

func (p *portable) dial(addr netip.AddrPort, class Class) (int, error) {
	if a := addr.Addr(); !a.IsValid() || a.Zone() != "" {
		return -1, fmt.Errorf("address %q: neither IPv4 nor IPv6 without a zone", addr)
	}
	return p.add(&netSock{network: "tcp", address: addr.String(), class: class}), nil
}

func (p *portable) dialUnix(path string, class Class) (int, error) {
	if path == "" {
		return -1, fmt.Errorf("unix socket without a path: %w", os.ErrInvalid)
	}
	return p.add(&netSock{network: "unix", address: path, class: class}), nil
}

func (p *portable) register(fd int, k key) error {
	s := p.socks[fd]
	s.key = k
	if s.conn != nil {
		s.begin()
		return nil
	}
	s.connect()
	return nil
}

func (p *portable) connected(fd int) error { return p.socks[fd].failure() }

// prepare sets an adopted socket's options; a dialled one's are set when it is up.
func (p *portable) prepare(fd int, class Class) {
	p.socks[fd].control(func(fd int) { kernelPrepare(fd, class) })
}

func (p *portable) keepAlive(fd int, k KeepAlive) { p.socks[fd].keepAlive(k) }

func (p *portable) originalDst(fd int, local netip.AddrPort) (to netip.AddrPort) {
	p.socks[fd].control(func(fd int) { to = kernelOriginalDst(fd, local) })
	return to
}

func (p *portable) recv(fd int, b []byte) (int, syscall.Errno)      { return p.socks[fd].recv(b) }
func (p *portable) send(fd int, bufs [][]byte) (int, syscall.Errno) { return p.socks[fd].send(bufs) }
func (p *portable) unacked(fd int) int                              { return p.socks[fd].unacked() }
func (p *portable) shutdown(fd int)                                 { p.socks[fd].shutdown() }

func (p *portable) shut(fd int, reset bool) {
	p.socks[fd].shut(reset)
	p.socks[fd] = nil
	p.free = append(p.free, fd)
}

func (p *portable) addrs(fd int) (local, remote netip.AddrPort) {
	s := p.socks[fd]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return local, remote
	}
	return netAddr(s.conn.LocalAddr()), netAddr(s.conn.RemoteAddr())
}

func netAddr(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// close waits for what was sent to be taken, a moment, and for all goroutines.
func (p *portable) close() {
	p.timer.Stop()
	p.mu.Lock()
	for s := range p.open {
		s.hurry()
	}
	p.mu.Unlock()
	p.group.Wait()
}
