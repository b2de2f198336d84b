"""The steps, each naming the one before it. A step that was released is never changed."""
