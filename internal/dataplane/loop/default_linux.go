// SPDX-License-Identifier: Apache-2.0

//go:build !portable

package loop

import "time"

func newDriver(k Kind, epoch time.Time) (driver, error) {
	if k == Portable {
		return newPortable(epoch), nil
	}
	return newEpoll(epoch)
}
