// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const maxEvents = 256

// wakeSlot is the slot of the eventfd in the set.
const wakeSlot = math.MaxUint32

// epoll is a set of descriptors that is itself parked in Go's netpoller: a waiting worker is a parked goroutine like
// any other. It needs a spare P, or wake-ups queue behind whatever computes.
type epoll struct {
	sockets
	fd     int
	file   *os.File
	raw    syscall.RawConn
	wakeFD int
	epoch  time.Time // of the worker's clock

	poll   func(uintptr) bool // made once: a closure a turn would be garbage
	events [maxEvents]unix.EpollEvent
	told   [maxEvents]event
	n      int
	err    error

	deadline int64 // set in the netpoller
	expired  bool  // it has passed: the netpoller refuses to wait until it is set anew
}

func newEpoll(epoch time.Time) (driver, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	wakeFD, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	e := &epoll{fd: fd, wakeFD: wakeFD, epoch: epoch, deadline: math.MaxInt64}
	if err := e.open(); err != nil {
		if e.file != nil {
			e.file.Close()
		} else {
			unix.Close(fd)
		}
		unix.Close(wakeFD)
		return nil, err
	}
	return e, nil
}

func (e *epoll) open() error {
	if err := e.register(e.wakeFD, key{slot: wakeSlot}); err != nil {
		return err
	}
	if err := unix.SetNonblock(e.fd, true); err != nil { // or os.NewFile will not hand it to the netpoller
		return fmt.Errorf("fcntl: %w", err)
	}
	e.file = os.NewFile(uintptr(e.fd), "epoll")
	if err := e.file.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("park epoll in the netpoller: %w", err)
	}
	raw, err := e.file.SyscallConn()
	if err != nil {
		return err
	}
	e.raw = raw
	e.poll = func(uintptr) bool {
		for {
			e.n, e.err = unix.EpollWait(e.fd, e.events[:], 0)
			if e.err != unix.EINTR {
				return e.n != 0 || e.err != nil
			}
		}
	}
	return nil
}

func (e *epoll) register(fd int, k key) error {
	ev := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&math.MaxUint32,
		Fd:     int32(k.slot), Pad: int32(k.gen),
	}
	if fd == e.wakeFD {
		ev.Events = unix.EPOLLIN | unix.EPOLLET&math.MaxUint32
	}
	if err := unix.EpollCtl(e.fd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

func (e *epoll) wait(block bool, until int64) ([]event, error) {
	e.n, e.err = 0, nil
	if block {
		// The deadline may be too early, never too late: setting it costs more than a rare idle turn.
		if e.expired || until < e.deadline {
			e.setDeadline(until)
		}
		if err := e.raw.Read(e.poll); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, fmt.Errorf("wait for events: %w", err)
			}
			e.expired = true
			e.poll(0) // it may have passed before the first look
		}
	} else {
		e.poll(0)
	}
	if e.err != nil {
		return nil, fmt.Errorf("epoll_wait: %w", e.err)
	}
	return e.translate(), nil
}

func (e *epoll) setDeadline(until int64) {
	var t time.Time
	if until != math.MaxInt64 {
		t = e.epoch.Add(time.Duration(until))
	}
	// It fails only for a closed file, which the wait that follows will report.
	_ = e.file.SetReadDeadline(t)
	e.deadline, e.expired = until, false
}

func (e *epoll) translate() []event {
	told := e.told[:0]
	for i := range e.events[:e.n] {
		ev := &e.events[i]
		k := key{slot: uint32(ev.Fd), gen: uint32(ev.Pad)}
		if k.slot == wakeSlot { // edge triggered: its counter need not be read
			continue
		}
		var b readiness
		if ev.Events&unix.EPOLLIN != 0 {
			b |= readable
		}
		if ev.Events&unix.EPOLLOUT != 0 {
			b |= writable
		}
		if ev.Events&unix.EPOLLRDHUP != 0 {
			b |= peerDone
		}
		if ev.Events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			b |= hangup
		}
		told = append(told, event{key: k, bits: b})
	}
	return told
}

func (e *epoll) wake() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	// A full counter (2^64-2 wake-ups) is the only way to fail.
	_, _ = unix.Write(e.wakeFD, one[:])
}

func (e *epoll) close() {
	e.file.Close()
	unix.Close(e.wakeFD)
}
