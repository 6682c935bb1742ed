// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/umbra-mesh/umbra/internal/admin"
	"github.com/umbra-mesh/umbra/internal/takeover"
)

// This file is how the listening sockets come from a predecessor, and how they go to a successor.

// mirrorsOff is the state of a process whose mirrors are switched off.
const mirrorsOff = "mirrors off"

// adminName is what the socket of the admin pages is called between the two.
func (a *App) adminName() string { return "admin " + a.opts.Admin }

// inherit asks the predecessor for its sockets, if there is one.
func (a *App) inherit() (*takeover.Heritage, error) {
	if a.opts.Takeover == "" {
		return nil, nil
	}
	return takeover.Ask(a.opts.Takeover)
}

// openAdmin makes the server of the admin pages.
func (a *App) openAdmin(from *takeover.Heritage) (err error) {
	f := from.Use(a.adminName())
	if f == nil {
		a.admin, err = admin.Listen(a.opts.Admin, admin.New(a.pages()), a.opts.Logger)
		return err
	}
	defer f.Close() // FileListener makes its own
	l, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("inherit admin address %s: %w", a.opts.Admin, err)
	}
	a.admin = admin.On(l, admin.New(a.pages()), a.opts.Logger)
	return nil
}

// succeed has the predecessor stop accepting, if there is one, and waits for the next successor.
func (a *App) succeed(from *takeover.Heritage) (err error) {
	switch {
	case from != nil:
		if from.State() == mirrorsOff { // somebody wanted it so
			a.mirrors.SetEnabled(false)
			a.opts.Logger.Warn("mirrors are off, as in the process before")
		}
		a.door, err = from.Ready()
	case a.opts.Takeover != "":
		a.door, err = takeover.Open(a.opts.Takeover)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	a.door.Logger = a.opts.Logger
	a.running.Go(func() { a.door.Serve(a.handOver) })
	return nil
}

// handOver passes the sockets on to a process that asks for them, and reports whether it has them now.
func (a *App) handOver(v *takeover.Visitor) bool {
	unlock, ok := a.lockReloads(a.ending) // what is offered stays as it is
	defer unlock()
	if !ok {
		v.Refuse("it ends while a reload is under way")
		return false
	}
	if a.draining.Load() {
		v.Refuse("it is draining")
		return false
	}
	sockets := a.listeners.sockets()
	if a.admin != nil {
		if c, ok := a.admin.Listener().(syscall.Conn); ok {
			sockets = append(sockets, takeover.Socket{Name: a.adminName(), Conn: c})
		}
	}
	state := ""
	if !a.mirrors.Enabled() {
		state = mirrorsOff
	}
	taken, err := v.Offer(sockets, state)
	if err != nil {
		a.opts.Logger.Error("a process that was to take over did not; this one serves on", "pid", v.PID, "error", err)
		return false
	}
	a.opts.Logger.Info("another process serves now", "pid", v.PID)
	a.draining.Store(true)
	a.listeners.leave(taken)
	if a.admin != nil && taken[a.adminName()] {
		a.running.Go(a.closeAdmin)
	}
	close(a.taken)
	return true
}

// TakenOver is closed when another process has the sockets: Drain and Close are to follow.
func (a *App) TakenOver() <-chan struct{} { return a.taken }

// closeAdmin ends the pages, those under way after a moment.
func (a *App) closeAdmin() {
	ctx, cancel := context.WithTimeout(context.Background(), adminGrace)
	defer cancel()
	if err := a.admin.Close(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
		a.opts.Logger.Debug("admin pages cut", "error", err)
	}
}

// adminGrace is for answers under way; also for connections that have sent no request, which are not worth more.
const adminGrace = 200 * time.Millisecond
