"""The front door of ANTHEM Search: everything an application needs, from one import."""
