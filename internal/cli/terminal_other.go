// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package cli

import "os"

// isTerminalFile takes other character devices for terminals too.
func isTerminalFile(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
