package pool

// autoRestartKey starts an instance again when it has ended unexpectedly.
const autoRestartKey = "boot.autorestart"

// restartKeys are those about the end of an instance.
func restartKeys() []instanceKey {
	return []instanceKey{{name: autoRestartKey, check: checkBool}} // at the next start
}
