// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"slices"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
)

// Where a machine holds a worker up for longer than a timer takes, what came meanwhile was in time.
const heldUp = 20 * time.Millisecond

// hold keeps a worker in the turn in which it does what is to be done, until meanwhile has returned and more than heldUp
// is over.
func hold(t *testing.T, w *Worker, do, meanwhile func()) {
	t.Helper()
	turning, release := make(chan struct{}), make(chan struct{})
	w.Post(func() { do(); close(turning); <-release })
	receive(t, turning, "the turn")
	meanwhile()
	over := time.NewTimer(2 * heldUp)
	defer over.Stop()
	receive(t, over.C, "the time to be over")
	close(release)
}

func TestBytesThatCameInTimeAreServedBeforeTheTimerTheyWouldBeTooLateFor(t *testing.T) {
	w := start(t, Config{}, nil)
	var order []string
	var timer Timer
	timer.Init(func() { order = append(order, "timer") })
	p := newProbe()
	p.onBytes = func(chunk.Bytes) { order = append(order, "bytes") }
	far := adopt(t, w, Production, p)
	hold(t, w, func() { w.Arm(&timer, heldUp) }, func() { far.Write([]byte("x")) })
	until(t, w, "both have come", func() bool { return len(order) == 2 })
	on(t, w, func() {
		if !slices.Equal(order, []string{"bytes", "timer"}) {
			t.Errorf("%v", order)
		}
	})
}

func TestConnectionThatCameAboutInTimeIsNotTooLate(t *testing.T) {
	for _, class := range []Class{Production, Copy} {
		w, other := start(t, Config{}, nil), start(t, Config{}, nil)
		addr := serveEcho(t, other, Production)
		p := newProbe()
		hold(t, w, func() { p.c = w.Dial(addr, class, heldUp, p) }, func() {})
		select {
		case <-p.connected:
		case err := <-p.gone:
			t.Errorf("class %d: %v", class, err)
		case <-time.After(patience):
			t.Fatal("neither connected nor gone")
		}
		on(t, w, func() { p.c.Close() })
	}
}
