package main

// putKeys puts keys, or properties, into what has a configuration and a description;
// "" unsets one.
func putKeys(command string, values map[string]string, property bool, config map[string]string, description *string) error {
	for k, v := range values {
		switch {
		case !property:
			config[k] = v
		case k == "description":
			*description = v
		default:
			return badUsage(command, "unknown property %q: the property that can be changed is description", k)
		}
	}
	return nil
}
