// SPDX-License-Identifier: Apache-2.0

//go:build portable || !linux

package loop

import "time"

func newDriver(_ Kind, epoch time.Time) (driver, error) { return newPortable(epoch), nil }
