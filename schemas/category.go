package schemas

// Category is a Fideslang data category key, such as user.contact.email.
type Category string
