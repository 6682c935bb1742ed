// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"
	"time"

	"github.com/umbra-mesh/umbra/internal/app"
)

// startGrace is how long a start may go on after a signal to end: an app that serves already is to be drained.
const startGrace = time.Second

// start makes an app with create, which may read a pipe that nobody writes to. A signal to end gives that up after
// startGrace, a second one at once; what create still does ends with the process then. A signal that came before an app
// that was made is put back, for who serves it.
func start(create func() (*app.App, error), signals chan os.Signal) (*app.App, error) {
	type outcome struct {
		app *app.App
		err error
	}
	created := make(chan outcome, 1)
	go func() {
		a, err := create()
		created <- outcome{a, err}
	}()
	var end os.Signal
	var late <-chan time.Time
	for {
		select {
		case o := <-created:
			if end != nil {
				select {
				case signals <- end:
				default: // as many are there already
				}
			}
			return o.app, o.err
		case s := <-signals:
			if end != nil {
				return nil, endedEarly(s)
			}
			end, late = s, time.After(startGrace)
		case <-late:
			return nil, endedEarly(end)
		}
	}
}

func endedEarly(s os.Signal) error {
	return fmt.Errorf("ended by a signal, %s, before the first configuration was served", s)
}
