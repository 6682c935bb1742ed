// SPDX-License-Identifier: Apache-2.0

package app

// SetMirrors is the kill switch: false lets no request get a copy from now on; production and copies under way go on.
func (a *App) SetMirrors(on bool) { a.mirrors.SetEnabled(on) }
