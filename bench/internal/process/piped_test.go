// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// The test binary is also the child.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "obey" {
		err := Obey(os.Stdin, os.Stdout, func(line string) (any, error) {
			switch line {
			case "fail":
				return nil, errors.New("as told")
			case "hang":
				_, err := bufio.NewReader(os.Stdin).ReadString('\n')
				return nil, err
			}
			return strings.ToUpper(line), nil
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func obeying(t *testing.T) *Piped {
	t.Helper()
	p, err := StartPiped("child", nil, os.Args[0], "obey")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestChildAnswersLineByLine(t *testing.T) {
	p := obeying(t)
	for _, line := range []string{"one", "two", ""} {
		var answer string
		if err := p.Ask(t.Context(), time.Minute, line, &answer); err != nil || answer != strings.ToUpper(line) {
			t.Errorf("%q is answered %q, %v", line, answer, err)
		}
	}
	h, err := Hold([]int{p.PID()})
	if err != nil || h.Bytes <= 0 || h.Descriptors < 3 {
		t.Errorf("the child holds %+v, %v", h, err)
	}
}

func TestChildThatFailsIsToldWithItsLastWords(t *testing.T) {
	var answer string
	err := obeying(t).Ask(t.Context(), time.Minute, "fail", &answer)
	if err == nil || !strings.Contains(err.Error(), "fail: as told") {
		t.Errorf("got %v", err)
	}
}

func TestSilentChildIsWaitedForInBounds(t *testing.T) {
	var answer string
	if err := obeying(t).Ask(t.Context(), time.Millisecond, "hang", &answer); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if err := obeying(t).Ask(ctx, time.Minute, "hang", &answer); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}
