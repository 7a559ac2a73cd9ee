package signals

import "lupa/schemas"

// choice collects what was said of categories.
type choice struct {
	r *Reader
	// given and refused are the purposes of the ids that were.
	given, refused schemas.PurposeSet
}

func (c *choice) give(id string) {
	purposes, _ := c.r.vocabulary.Category(id)
	c.given |= purposes
}

// refuse takes an id back. One that is not known may be any.
func (c *choice) refuse(id string) {
	purposes, known := c.r.vocabulary.Category(id)
	if !known {
		purposes = c.r.vocabulary.CategoryPurposes()
	}
	c.refused |= purposes
}

// onlyGiven is what is denied when all that was not given is.
func (c *choice) onlyGiven() schemas.PurposeSet {
	return c.r.vocabulary.CategoryPurposes()&^c.given | c.refused
}

// categories reads Segment's category preferences: an object of ids with true
// or false.
func (r *Reader) categories(raw []byte) (denied schemas.PurposeSet, ok bool) {
	c := choice{r: r}
	ok = members(raw, func(id string, value []byte) bool {
		switch string(value) {
		case "true":
			c.give(id)
		case "false":
			c.refuse(id)
		default:
			return false
		}
		return true
	})
	return c.onlyGiven(), ok
}

// rudder reads RudderStack's consent management: lists of ids. A destination
// with several categories may, by its strategy, take one of them for all; a
// purpose may not.
func (r *Reader) rudder(raw []byte) (denied schemas.PurposeSet, ok bool) {
	c := choice{r: r}
	allows, denies := false, false
	ok = members(raw, func(name string, value []byte) bool {
		switch name {
		case "allowedConsentIds":
			ids, ok := textsOf(value)
			for _, id := range ids {
				c.give(id)
			}
			again := allows
			allows = true
			return ok && !again
		case "deniedConsentIds":
			ids, ok := textsOf(value)
			for _, id := range ids {
				c.refuse(id)
			}
			again := denies
			denies = true
			return ok && !again
		case "resolutionStrategy":
			strategy, ok := textOf(value)
			return ok && (strategy == "and" || strategy == "or" || strategy == "")
		}
		return true
	})
	if allows {
		return c.onlyGiven(), ok
	}
	return c.refused, ok && denies
}

// preferences reads Snowplow's consent_preferences.
func (r *Reader) preferences(raw []byte) (denied schemas.PurposeSet, ok bool) {
	c := choice{r: r}
	kinds, lists, kind := 0, 0, ""
	ok = members(raw, func(name string, value []byte) (ok bool) {
		switch name {
		case "eventType", "event_type":
			kind, ok = textOf(value)
			kinds++
			return ok && kinds == 1
		case "consentScopes", "consent_scopes":
			scopes, ok := textsOf(value)
			for _, scope := range scopes {
				c.give(scope)
			}
			lists++
			return ok && lists == 1
		}
		return true
	})
	switch {
	case kind == "allow_all":
		return 0, ok
	case kind == "allow_selected":
		return c.onlyGiven(), ok
	}
	return 0, false // refused, withdrawn, expired, pending, implied
}
