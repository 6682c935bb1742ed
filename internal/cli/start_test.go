// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/umbra-mesh/umbra/internal/app"
)

func TestASignalEndsAStartThatWaitsForItsInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		input := make(chan struct{})
		defer close(input)
		signals := make(chan os.Signal, 8)
		signals <- syscall.SIGTERM
		began := time.Now()
		_, err := start(func() (*app.App, error) {
			<-input
			return nil, errors.New("read too late")
		}, signals)
		if err == nil || !strings.Contains(err.Error(), "ended by a signal, terminated, before") {
			t.Errorf("error %v", err)
		}
		if took := time.Since(began); took != startGrace {
			t.Errorf("given up after %v, want %v", took, startGrace)
		}
	})
}

func TestASecondSignalEndsAStartAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		input := make(chan struct{})
		defer close(input)
		signals := make(chan os.Signal, 8)
		signals <- syscall.SIGTERM
		signals <- syscall.SIGINT
		began := time.Now()
		_, err := start(func() (*app.App, error) {
			<-input
			return nil, errors.New("read too late")
		}, signals)
		if err == nil || !strings.Contains(err.Error(), "interrupt") || time.Since(began) != 0 {
			t.Errorf("error %v after %v", err, time.Since(began))
		}
	})
}

func TestASignalDuringAStartThatEndsInTimeIsForWhoServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signals := make(chan os.Signal, 8)
		signals <- syscall.SIGTERM
		made := &app.App{}
		a, err := start(func() (*app.App, error) {
			<-time.After(startGrace / 2)
			return made, nil
		}, signals)
		if a != made || err != nil {
			t.Fatalf("app %p, error %v, want %p", a, err, made)
		}
		select {
		case s := <-signals:
			if s != syscall.SIGTERM {
				t.Errorf("signal %v is put back", s)
			}
		default:
			t.Error("the signal is lost")
		}
	})
}
